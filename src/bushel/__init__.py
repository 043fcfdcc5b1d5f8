"""Bushel: one batch and machine learning platform over every cluster an organisation runs."""

__version__ = "0.1.0"
