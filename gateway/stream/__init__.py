"""One stream (its log, its views, its subscribers), and the hub of all streams of this process."""
