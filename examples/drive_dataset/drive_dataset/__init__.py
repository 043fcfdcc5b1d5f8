"""Drive recordings become a data set that a network can train on.

Guarantees: each stage is a function on files and a command, `python -m drive_dataset.<stage>`, and runs without any platform. What a
stage writes appears whole or not at all, and is the same, byte for byte, for the same input. A bad recording ends as one named failure
(`errors.DriveError`) of that recording, never of another's.
"""
