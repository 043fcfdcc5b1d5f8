"""Tests of what is shipped under examples/, each in its own environment."""
