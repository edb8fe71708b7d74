"""Wiring of the process: build, serve, reload, drain, stop."""
