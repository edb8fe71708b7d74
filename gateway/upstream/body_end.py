"""Shell: the end of the body of an answer, which may leave long work on what the body holds.

In: a body reader that has been given all of its bytes. Out: the end told, and the work done in later turns of the
event loop, some milliseconds in each, one answer after the other.
"""

from collections.abc import Callable
from functools import partial

from gateway.upstream.bodies import BodyReader
from gateway.upstream.later_turns import LaterTurns
from gateway.upstream.read_work import ReadWork


def finish_in_turns(body: BodyReader, later: LaterTurns, on_fault: Callable[[], None]) -> None:
    """Tell the end of a body; `on_fault` is called before an exception is raised, in whichever turn."""
    try:
        steps = body.finish()
    except BaseException:
        on_fault()
        raise
    if steps is not None:
        later.add(partial(_go_on, ReadWork(steps), later, on_fault))


def _go_on(work: ReadWork, later: LaterTurns, on_fault: Callable[[], None]) -> None:
    try:
        is_over = work.run()
    except BaseException:
        on_fault()
        raise
    if not is_over:
        later.add(partial(_go_on, work, later, on_fault))
