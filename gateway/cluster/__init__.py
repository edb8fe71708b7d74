"""The streams of several processes: where they are, and who owns them."""
