"""Streams are tested with the fixtures of delivery."""

from tests.delivery.conftest import whole_passes

__all__ = ["whole_passes"]
