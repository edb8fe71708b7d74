"""Pure: the changes that one upstream needs in the body of a request: fields renamed, added and dropped.

In: the members of a body. Out: members for the upstream; the body that came stays as it is, since a fallback sends it
to another upstream. An upstream that needs no change has no `BodyChanges` at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from gateway.wire import json_text
from gateway.wire.json_members import Piece

_Value = TypeVar("_Value")


class Inner(NamedTuple):
    """The value of a member, and the paths into it that lead to what is dropped."""

    place: Piece
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class BodyChanges:
    """The changes, in this order: `rename`, then `defaults` in the upstream's own names, then `drop`.

    `rename` leads from the name that clients send to the upstream's; a field that is there under both names goes out
    as it came under the upstream's. `defaults` are for fields that are not there. `drop` has paths: a path goes into
    objects, and into each object of a list.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def build(
        cls, rename: Mapping[str, str], defaults: Mapping[str, Any], drop: Sequence[str]
    ) -> "BodyChanges | None":
        """The changes of these settings, the paths of `drop` written with dots; None if they change nothing."""
        if not (rename or defaults or drop):
            return None
        return cls(rename, defaults, tuple(tuple(path.split(".")) for path in drop))

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The members of the body for this upstream."""
        changed = self._named(body, self.defaults)
        for path in self.drop:
            changed = _without(changed, path)
        return changed

    def apply_to_pieces(
        self, members: Mapping[str, Piece], read: Callable[[Piece], Any], found: Mapping[Inner, list[Piece]]
    ) -> dict[str, Piece | list[Piece]]:
        """The same for members whose values are places in a JSON text, or JSON texts of their own.

        `found`: what is left of members whose drops were looked for before. `read` makes the value of a place. Only
        a member into which a path of `drop` leads is read, and only if the path leads to something there it is
        written anew.
        """
        defaults = {name: json_text.dumps(value) for name, value in self.defaults.items()}
        named = self._named(members, defaults)
        changed: dict[str, Piece | list[Piece]] = {**named}
        for name, inner in self._inner_drops(named):
            if inner in found:
                changed[name] = found[inner]
                continue
            value = kept = read(inner.place)
            for path in inner.paths:
                kept = _without(kept, path)
            if kept != value:
                changed[name] = json_text.dumps(kept)
        for name, *rest in self.drop:
            if not rest:
                changed.pop(name, None)
        return changed

    def inner_places(self, members: Mapping[str, tuple[int, int]]) -> list[Inner]:
        """The members into which paths of `drop` lead."""
        return [inner for _, inner in self._inner_drops(self._named(members, {}))]

    def _inner_drops(self, members: Mapping[str, Piece]) -> Iterator[tuple[str, Inner]]:
        paths: dict[str, list[tuple[str, ...]]] = {}
        for name, *rest in self.drop:
            if rest and name in members:
                paths.setdefault(name, []).append(tuple(rest))
        for name, inner in paths.items():
            yield name, Inner(members[name], tuple(inner))

    def _named(self, body: Mapping[str, _Value], defaults: Mapping[str, _Value]) -> dict[str, _Value]:
        """The members under the upstream's names, and the defaults of those that are not there."""
        names = self.rename
        changed = {name: value for name, value in body.items() if name not in names}
        for name, value in body.items():
            if name in names and names[name] not in changed:
                changed[names[name]] = value
        for name, value in defaults.items():
            changed.setdefault(name, value)
        return changed


def _without(value: Any, path: tuple[str, ...]) -> Any:
    """The value without what the path leads to. What changes is copied; all else is shared with the value."""
    if isinstance(value, list):
        return [_without(entry, path) for entry in value]
    name, *rest = path
    if not isinstance(value, dict) or name not in value:
        return value
    if rest:
        return {**value, name: _without(value[name], tuple(rest))}
    return {key: entry for key, entry in value.items() if key != name}
