"""One try on one upstream: connections, the pool in which they rest, and the attempt."""
