"""Several streams and feeds in one log, for subscriptions to many of them over one connection."""
