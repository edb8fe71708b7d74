"""Pure: the benches that the suite runs, and what each is asked.

In: what the suite was asked. Out: command lines. Invariant: a short run asks for fewer and shorter rounds, never for
another load: its figures are of the same questions.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "all"
APT = "apt-get install nginx libnginx-mod-nchan gcc"


@dataclass(frozen=True, slots=True)
class Entry:
    """A bench; `quick`: its options in a short run; `has_rounds`: it knows `--rounds`."""

    name: str
    question: str
    quick: tuple[str, ...] = ()
    has_rounds: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    quick: bool = False
    rounds: int | None = None
    litellm: str = ""


ENTRIES = (
    Entry("startup", "from exec to ready", ("--rounds", "5")),
    Entry("relay", "CPU per relayed event, TTFT added", ("--rounds", "1", "--seconds", "2")),
    Entry("ttft", "deadlines, hedging", ("--rounds", "1", "--requests", "240")),
    Entry("abort", "the last reader closes, the upstream sees it", ("--rounds", "1", "--aborts", "60")),
    Entry("memory", "idle subscribers", ("--rounds", "1", "--quiet-seconds", "15")),
    Entry("storm", "everybody at once", has_rounds=False),
    Entry("growth", "how costs grow", ("--rounds", "1", "--seconds", "0.6")),
    Entry(
        "fanout",
        "one stream to ten thousand",
        ("--rounds", "1", "--slices", "2", "--slice-seconds", "0.5", "--latency-seconds", "3"),
    ),
)
NAMES = tuple(entry.name for entry in ENTRIES)


def chosen(names: list[str]) -> list[Entry]:
    """In the order of the suite; all for `all`, and for none."""
    return [entry for entry in ENTRIES if not names or ALL in names or entry.name in names]


def options(entry: Entry, wish: Wish) -> list[str]:
    """What the bench is given; an option that stands twice counts as it stands last."""
    given = list(entry.quick) if wish.quick else []
    if wish.rounds is not None and entry.has_rounds:
        given += ["--rounds", f"{wish.rounds}"]
    if wish.litellm and entry.name == "relay":
        given += ["--litellm", wish.litellm]
    return given
