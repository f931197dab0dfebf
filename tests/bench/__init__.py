"""Measurements: `python3 dev.py bench`. No test asserts a time; these are read as ratios."""
