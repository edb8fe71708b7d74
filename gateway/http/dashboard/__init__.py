"""The live page: its files, and what serves them."""
