"""A simulated provider that behaves as its script says, for the demo, the tests and the benches."""

from gateway.simulate.provider import Provider, usual_script
from gateway.simulate.script import Script
from gateway.simulate.tally import Abort, LastRequest, ProviderStatistics

__all__ = ["Abort", "LastRequest", "Provider", "ProviderStatistics", "Script", "usual_script"]
