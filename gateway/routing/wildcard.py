"""Pure: a wildcard: the id of a model with one `*`, which stands for any part of a name.

In: the id, and names that clients ask for. Out: what the `*` stands for, and the name at the upstream.
"""

from dataclasses import dataclass

from gateway.access.pasted_secret import is_certain_secret

STAR = "*"
MAX_NAME_CHARACTERS = 256  # as of an id in the configuration


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A wildcard, cut at its `*`."""

    before: str
    behind: str

    @classmethod
    def parse(cls, model_id: str) -> "Wildcard":
        before, _, behind = model_id.partition(STAR)
        return cls(before, behind)

    @property
    def narrowness(self) -> int:
        """How narrow the wildcard is, in characters: of several that fit a name, the narrowest serves it."""
        return len(self.before) + len(self.behind)

    def rest(self, name: str) -> str | None:
        """What the `*` stands for in this name; None if the name does not fit, or could not be a model's id."""
        if not (name.startswith(self.before) and name.endswith(self.behind)) or not _is_id(name):
            return None
        return name[len(self.before) : len(name) - len(self.behind)] if len(name) > self.narrowness else None


def _is_id(name: str) -> bool:
    """Whether a model can have this id: the name comes from a client and goes to an upstream, and into the log."""
    if len(name) > MAX_NAME_CHARACTERS or STAR in name:
        return False
    return name.isprintable() and not any(map(str.isspace, name)) and not is_certain_secret(name)
