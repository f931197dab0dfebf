"""Long runs: `python3 dev.py soak`."""
