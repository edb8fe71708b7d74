"""The dialect of OpenAI's Responses API: its requests, events, documents and errors."""
