"""The dialect of OpenAI's text completions: `POST /v1/completions`."""
