"""One try on one provider: connections, the pool they rest in, and the attempt."""
