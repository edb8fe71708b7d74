"""The messages API of Anthropic as a dialect."""
