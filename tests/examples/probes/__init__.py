"""Programs that run in the environment of the drive stages and say what they found, as one line of JSON."""
