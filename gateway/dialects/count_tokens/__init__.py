"""The counting of the tokens of a prompt, by the API of Anthropic, as a dialect."""
