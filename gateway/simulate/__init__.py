"""A provider that behaves as told: for the demo, the tests and the benches."""

from .provider import Provider
from .script import Script
from .tally import Abort, LastRequest, ProviderStatistics

__all__ = ["Abort", "LastRequest", "Provider", "ProviderStatistics", "Script"]
