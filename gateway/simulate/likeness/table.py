"""Pure: the table of all likenesses, by the names that `rivergate sim --like` takes."""

from collections.abc import Mapping

from gateway.simulate.likeness.hosted import HOSTED
from gateway.simulate.likeness.likeness import Likeness
from gateway.simulate.likeness.local import LOCAL

LIKENESSES: Mapping[str, Likeness] = {**HOSTED, **LOCAL}


def likeness(name: str) -> Likeness:
    """The likeness of this name. Raises `ValueError` with all names if there is none."""
    if name not in LIKENESSES:
        raise ValueError(f"no provider is called {name!r}; there are: {', '.join(LIKENESSES)}")
    return LIKENESSES[name]
