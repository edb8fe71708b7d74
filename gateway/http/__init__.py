"""The HTTP surface: one front door, then the endpoints."""
