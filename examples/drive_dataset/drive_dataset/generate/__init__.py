"""Drives that never happened, for people who have no recordings: a car on a road, recorded in the formats that real cars record in.

Guarantees: physically plausible (a kinematic vehicle with bounded acceleration and jerk on a road of smooth curvature; every sensor sees
the same motion) and reproducible: the same seed writes the same files. What is true of a drive lies beside it in `truth/`.
"""
