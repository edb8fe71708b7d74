"""Shell: what happens to a completion that has ended: it is booked, measured, traced and logged."""

import logging

from gateway import clock
from gateway.access.bank import Bank, Lease
from gateway.completion.answer import Record
from gateway.observe import logs
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Span
from gateway.run import settlement
from gateway.run.gc_policy import GarbagePolicy
from gateway.run.history import History
from gateway.stream.hub import Hub

_log = logging.getLogger("rivergate")


class Bookkeeping:
    """The last step of every completion: `settle` is called in the very call that ends the completion."""

    def __init__(self, hub: Hub, bank: Bank, history: History, metrics: Metrics, garbage: GarbagePolicy) -> None:
        self._hub = hub
        self._bank = bank
        self._history = history
        self._metrics = metrics
        self._garbage = garbage

    def settle(self, record: Record, lease: Lease | None, span: Span) -> None:
        """Book, measure, trace and log a completion. `lease`: of the key that pays; `span`: of the request."""
        now = int(clock.wall_time())
        try:
            self._hub.end(record.id)
        finally:  # whatever fails, the later steps are taken
            try:
                self._bank.settle(settlement.usage(record, lease, now), lease)
            finally:
                try:
                    logs.write_ending(
                        _log, "completion ended", record.ending, lambda: settlement.log_fields(record, lease)
                    )
                finally:
                    self._history.on_record(record, lease.key_id if lease else None, now)
                    self._measure(record, span)

    def _measure(self, record: Record, span: Span) -> None:
        span.end(lambda: settlement.traced(record))
        self._metrics.on_completion(settlement.completion(record))
        self._garbage.after_answer()
