"""Real providers as the simulated provider plays them on chat completions: their paths, errors and quirks."""

from gateway.simulate.likeness.chat import LikeChat
from gateway.simulate.likeness.table import LIKENESSES, likeness

__all__ = ["LIKENESSES", "LikeChat", "likeness"]
