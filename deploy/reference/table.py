"""Pure: a table of a reference page, of which the code gives the rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

NO_WORDS = "?"  # stands where a page has no words for a row yet


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page. `by_hand`: the last column is written in the page, and `rows` have no cell for it."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    by_hand: bool = False

    def lines(self, before: str) -> Iterator[str]:
        """The table as Markdown; `before` is the table that stands in the page, whose words are kept."""
        words = {cells[0]: cells[-1] for cells in map(_cells, before.splitlines()) if len(cells) == len(self.head)}
        yield _line(self.head)
        yield "|" + "---|" * len(self.head)
        for row in self.rows:
            yield _line((*row, words.get(row[0], NO_WORDS)) if self.by_hand else row)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def code(text: str) -> str:
    """The text as code in Markdown."""
    return f"`{text}`"


def yes(fact: bool) -> str:
    """The fact as a cell."""
    return "yes" if fact else "no"
