"""The log, its readers, and the bookkeeping of who is listening."""
