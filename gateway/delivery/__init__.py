"""From a log to the sockets of its subscribers."""
