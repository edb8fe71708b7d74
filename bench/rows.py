"""Pure: what the gateway must reach: every row of DESIGN.md section 7, and what the benches promise beyond it.

In: the JSON that the benches have written. Out: a verdict per row. Invariant: whoever tells of a target, a bench, the
suite's table or the report, has it from here; a figure that was taken under other conditions than its row names is no
figure, and a row without a figure says why.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from bench.kit.tables import shown

Report = Mapping[str, Any]  # the JSON of one bench
Reader = Callable[[Report], float | None]  # None: the report does not have this figure
DESIGN, BEYOND = "DESIGN.md section 7", "beyond it"
MET, MISSED, NOT_MEASURED = "met", "MISSED", "not measured"
RATE_KEPT = 0.97  # of the events that were due in the window
MAX_SLOPE = 1.15  # of a cost against its cause, both as logarithms: beyond this it grows worse than linearly
FAN_OUT = "fan-out to 1,000, deliveries per CPU s"
CROWD = {"rate": 20}
TAIL = {"slow_share": 0.05}
STORM = {"subscribers": 5000, "seconds": 2, "resume": 500}


@dataclass(frozen=True, slots=True)
class Row:
    """A question, the bench that answers it, where the answer stands, and what it must be."""

    bench: str
    question: str
    limit: float
    read: Reader
    unit: str = ""
    at_least: bool = False
    part: str = ""  # a peer beside the gateway, or a part of the run, without which there is no figure
    fault: Callable[[Report], str] = lambda report: ""  # why the figure means nothing, "" if it does
    options: Mapping[str, float] = field(default_factory=dict)  # of the bench, as the question names them
    needs: str = ""  # what a run lacks that has no such figure
    source: str = DESIGN

    @property
    def target(self) -> str:
        return f"{'>=' if self.at_least else '<='} {shown(self.limit)}{self.unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`value` None: not measured, and `why`."""

    row: Row
    value: float | None
    why: str = ""

    @property
    def word(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        met = self.value >= self.row.limit if self.row.at_least else self.value <= self.row.limit
        return MET if met else MISSED

    @property
    def figure(self) -> str:
        return "-" if self.value is None else f"{shown(self.value)}{self.row.unit}"

    @property
    def cells(self) -> list[str]:
        """The question, its target, the figure, the verdict."""
        word = f"{self.word}: {self.why}" if self.why else self.word
        return [self.row.question, self.row.target, self.figure, word]

    def as_json(self) -> dict[str, object]:
        kept = {name: value for name, value in asdict(self.row).items() if name not in ("read", "fault")}
        return {**kept, "value": self.value, "verdict": self.word, "why": self.why}


def judge(reports: Mapping[str, Report], troubles: Mapping[str, str], rows: Iterable[Row]) -> list[Verdict]:
    """A verdict for each row. `troubles`: why a bench has no report."""
    return [_verdict(row, reports.get(row.bench), troubles.get(row.bench, "not run")) for row in rows]


def _verdict(row: Row, report: Report | None, trouble: str) -> Verdict:
    if report is None:
        return Verdict(row, None, f"{row.bench}: {trouble}")
    asked = report.get("options", {})
    others = [f"{name} was {asked.get(name)}" for name, wanted in row.options.items() if asked.get(name) != wanted]
    others += [why for why in (row.fault(report),) if why]
    value = None if others else row.read(report)
    return Verdict(row, value, "" if value is not None else "; ".join(others) or _reason(row, report))


def _reason(row: Row, report: Report) -> str:
    """The failure of the part that was needed, or of the gateway, or what the run lacks."""
    failures = failures_of(report)
    for name in (row.part, "gateway", ""):
        if name in failures:
            named = name or row.bench
            return f"{named}: {_first_line(failures[name]).removeprefix(f'{named}: ')}"
    if row.part == "litellm":
        return "litellm: give --litellm PYTHON"
    return row.needs or f"{row.bench} has no such figure"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def failures_of(report: Report) -> dict[str, str]:
    """Who failed in a bench, and why; the bench itself is ""."""
    found = dict(report.get("failures") or {})
    for size in (report.get("sizes") or {}).values():
        found = {**size.get("failures", {}), **found}
    found |= dict.fromkeys(report.get("skipped") or (), "not installed")
    return found | ({"": report["failure"]} if report.get("failure") else {})


def needs_packages(reports: Iterable[Report]) -> bool:
    """Whether a peer was missing that a package would bring."""
    return any(
        name in ("nginx", "nchan", "c") and any(word in why for word in ("not installed", "No such file", "no gcc"))
        for report in reports
        for name, why in failures_of(report).items()
    )


def dig(report: Any, *path: str) -> Any:
    """What stands at this path, None if nothing does."""
    for name in path:
        if not isinstance(report, Mapping):
            return None
        report = report.get(name)
    return report


def number(*path: str, factor: float = 1.0) -> Reader:
    """The figure at this path: a number, or the median of a spread."""

    def read(report: Report) -> float | None:
        found = dig(report, *path)
        found = found.get("median") if isinstance(found, Mapping) else found
        return found * factor if isinstance(found, int | float) else None

    return read


def worst(*path: str) -> Reader:
    """The highest p99 of all kinds at this path."""

    def read(report: Report) -> float | None:
        values = [kind["p99_ms"] for kind in (dig(report, *path) or {}).values() if kind]
        return max(values, default=None)

    return read


def combined(combine: Callable[[float, float], float], above: Reader, below: Reader) -> Reader:
    """Two figures as one: their difference or their quotient."""

    def read(report: Report) -> float | None:
        high, low = above(report), below(report)
        return None if high is None or low is None else combine(high, low)

    return read


difference, quotient = partial(combined, operator.sub), partial(combined, operator.truediv)


def rate_not_kept(peer: str, report: Report) -> str:
    """Who of the gateway and this peer was given, or took, less than the rate: late events come together, and those
    are cheaper, so that a CPU per event of such a run flatters.
    """
    for name in ("gateway", peer):
        kept = number("peers", name, "rate_kept")(report)
        if kept is not None and kept < RATE_KEPT:
            return f"{name} had {kept:.0%} of the rate"
    return ""


def faults(size: str, report: Report) -> float | None:
    """0: everybody got every event, in order, exactly once; one fault ends a run, so that there is never more."""
    if dig(report, "sizes", size, "peers", "gateway", "latency_p99_ms"):
        return 0.0
    failure = dig(report, "sizes", size, "failures", "gateway") or ""
    return None if not failure or ", join" in failure else 1.0


def _crowd(key: str, size: str = "1000") -> Reader:
    return number("sizes", size, "peers", "gateway", key)


def _relay(key: str) -> Reader:
    return number("peers", "gateway", key)


def _slope(curve: str, cost: str) -> Reader:
    return number("curves", curve, "fits", cost, "slope")


_fanout = partial(Row, "fanout", at_least=True, needs="no run with 1,000 subscribers")
_relayed = partial(Row, "relay", options={"streams": 300, "rate": 100})
_first = partial(Row, "relay", unit=" ms", part="direct")
_later = partial(Row, "relay", unit=" ms", part="direct", options={"ttft_streams": 100})
_idle = partial(Row, "memory", limit=1, unit=" KiB")
_beyond = partial(Row, source=BEYOND)
_grows = partial(_beyond, "growth", limit=MAX_SLOPE)

ROWS: tuple[Row, ...] = (
    _fanout(f"{FAN_OUT}, of the C loop's", 0.85, _crowd("single_per_cpu_s_vs_c"), part="c"),
    _fanout(f"{FAN_OUT}, of Nchan's", 1.3, _crowd("single_per_cpu_s_vs_nchan"), part="nchan"),
    _fanout("bursts to 1,000, deliveries per CPU s", 3_000_000, _crowd("burst_per_cpu_s")),
    _fanout("bursts to 1,000, of Nchan's", 15, _crowd("burst_per_cpu_s_vs_nchan"), part="nchan"),
    _relayed("relay, CPU per event, of nginx's", 1.5, _relay("cpu_vs_nginx"), part="nginx",
             fault=partial(rate_not_kept, "nginx")),
    _relayed("relay, CPU per event, of the plain aiohttp proxy's", 0.5, _relay("cpu_vs_aiohttp"), part="aiohttp",
             fault=partial(rate_not_kept, "aiohttp")),
    _relayed("relay, CPU per event, of LiteLLM's", 1 / 40, _relay("cpu_vs_litellm"), part="litellm",
             fault=partial(rate_not_kept, "litellm")),
    _first("TTFT added, one stream at a time, p99", 0.5, _relay("added_ttft_one_p99_ms")),
    _later("TTFT added, 100 streams, p50", 0.5, _relay("added_ttft_many_p50_ms")),
    _later("TTFT added, 100 streams, p99", 2, _relay("added_ttft_many_p99_ms")),
    _beyond("relay", "a key, its limits and its balance: CPU per request more", 50,
            number("peers", "gateway+key", "request_us_of_key"), " us", part="gateway+key"),
    _idle("memory of an idle subscriber, 1,000 of them", read=number("peers", "gateway", "1000", "pss_kib")),
    _idle("memory of an idle subscriber, 10,000 of them", read=number("peers", "gateway", "10000", "pss_kib")),
    Row("abort", "last reader closes, the upstream sees it, p99", 10, worst("peers", "gateway", "alone"), " ms"),
    Row("abort", "the same beside 100 streams, p99", 10, worst("peers", "gateway", "beside"), " ms",
        options={"others": 100}),
    Row("ttft", "a TTFT deadline fires late by, 300 streams, p99", 10, number("deadline", "spread", "p99_ms"), " ms",
        options={"streams": 300}, part="deadline"),
    Row("fanout", "10,000 at 20 events/s: events missed, repeated, out of order", 0, partial(faults, "10000"),
        options=CROWD, needs="no run with 10,000 subscribers"),
    Row("fanout", "10,000 at 20 events/s: delivery, p99", 100, _crowd("latency_p99_ms", "10000"), " ms",
        options=CROWD, needs="no run with 10,000 subscribers"),
    _beyond("ttft", "hedging, 5 % slow: p99 of the TTFT, of its p50", 2,
            quotient(number("tail", "auto", "p99_ms"), number("tail", "auto", "p50_ms")), options=TAIL, part="tail"),
    _beyond("ttft", "hedging, requests more", 10, number("tail", "auto", "extra_share", factor=100), " %",
            options=TAIL, part="tail"),
    _beyond("storm", "5,000 join within 2 s: response head, p99", 1000, number("figures", "join_p99_ms"), " ms",
            options=STORM),
    _beyond("storm", "500 come back: response head, p99", 1000, number("figures", "resume_p99_ms"), " ms",
            options=STORM),
    _beyond("storm", "descriptors left behind", 0,
            difference(number("figures", "files_after"), number("figures", "files_before"))),
    _beyond("memory", "5,000 quiet subscribers, keep-alive every 15 s: CPU of a core", 2,
            number("quiet", "core_share", factor=100), " %", options={"quiet": 5000}),
    _beyond("startup", "exec to /readyz 200, median", 0.5, number("peers", "gateway", "ready_seconds"), " s"),
    _grows("CPU grows with streams, exponent", read=_slope("streams", "cpu"), part="streams"),
    _grows("memory grows with streams, exponent", read=_slope("streams", "memory"), part="streams"),
    _grows("CPU grows with subscribers, exponent", read=_slope("subscribers", "cpu"), part="subscribers"),
    # A kernel's send to ten thousand sockets costs more than to one thousand: of that the C loop is the measure.
    _beyond("growth", "CPU grows with subscribers, exponent beyond the C loop's", 0.15,
            difference(_slope("subscribers", "cpu"), _slope("subscribers_c", "cpu")), part="subscribers_c"),
    _grows("memory grows with subscribers, exponent", read=_slope("subscribers", "memory"), part="subscribers"),
    _grows("CPU grows with the size of an event, exponent", read=_slope("event_bytes", "cpu"), part="event_bytes"),
    _grows("CPU grows with the rate of events, exponent", read=_slope("rate", "cpu"), part="rate"),
    _grows("CPU for a late joiner grows with the log, exponent", read=_slope("log", "cpu"), part="log"),
    _grows("time for a late joiner grows with the log, exponent", read=_slope("log", "time"), part="log"),
)  # fmt: skip


def of_bench(name: str, report: Report) -> list[Verdict]:
    """The verdicts that one bench can give."""
    return judge({name: report}, {}, [row for row in ROWS if row.bench == name])
