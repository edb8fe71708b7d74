"""The endpoints behind the front door, one file for each group of paths."""
