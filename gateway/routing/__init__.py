"""The choice of the upstream that serves a request, and what happens when an upstream fails."""
