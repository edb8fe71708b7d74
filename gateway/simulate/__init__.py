"""A provider that behaves as told: for the demo, the tests and the benches."""

from .provider import Provider
from .script import Script
from .tally import Abort, LastRequest, Statistics

__all__ = ["Abort", "LastRequest", "Provider", "Script", "Statistics"]
