"""The dialect of OpenAI's embeddings: `POST /v1/embeddings`, whose answers are never streamed."""
