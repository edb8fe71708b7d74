"""Pure: what the gateway must reach, once: every row of DESIGN.md section 7, and what the benches promise beyond it.

In: the JSON that the benches have written. Out: a verdict per row. Invariant: whoever tells of a target, a bench, the
suite's table or the report, has it from here.
"""

from __future__ import annotations

from functools import partial

from bench.readings import Reader, Report, difference, faults, number, quotient, rate_not_kept, worst
from bench.verdicts import BEYOND, Row, Verdict, judge

MAX_SLOPE = 1.15  # of a cost against its cause, both as logarithms: beyond this it grows worse than linearly
FAN_OUT = "fan-out to 1,000, deliveries per CPU s"
CROWD = {"rate": 20}
TAIL = {"slow_share": 0.05}
STORM = {"subscribers": 5000, "seconds": 2, "resume": 500}


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
