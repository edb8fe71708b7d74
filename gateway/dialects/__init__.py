"""What the events of one API mean."""
