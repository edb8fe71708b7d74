"""From a call to its settlement: one streamed or whole completion at a time."""
