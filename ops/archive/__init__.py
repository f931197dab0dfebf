"""The ZIP of a backup. Knows nothing about databases."""
