"""A log, its framings, who is listening, and all streams of this process."""
