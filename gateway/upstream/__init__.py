"""The way to an upstream: its connections, the pool in which they rest, and one attempt on it."""
