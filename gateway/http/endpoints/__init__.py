"""What stands behind the front door, one file a group of paths."""
