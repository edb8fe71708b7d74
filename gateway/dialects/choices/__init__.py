"""What chat completions and text completions have in common: objects with `choices`, events up to `[DONE]`."""
