"""SSE sources and the gateway's own feeds as streams."""
