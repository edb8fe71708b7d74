"""The dashboard: the files of the live page, and the endpoints that serve them."""
