"""Benches: each answers one question beside its peers in the same run, and prints ratios."""
