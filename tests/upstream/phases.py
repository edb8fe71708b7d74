"""How to bring an attempt into each of its phases."""

from .kit import (
    DONE,
    FINISH,
    ROLE,
    STREAM_HEAD,
    Peer,
    Trial,
    until,
    word,
)


async def _before_the_head(peer: Peer, trial: Trial) -> None:
    pass


async def _after_the_head(peer: Peer, trial: Trial) -> None:
    peer.send(STREAM_HEAD)
    await until(lambda: trial.attempt.marks.head)


async def _before_content(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE)
    await until(lambda: trial.attempt.marks.first_event)


async def _flowing(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)


async def _paused(peer: Peer, trial: Trial) -> None:
    await _flowing(peer, trial)
    trial.attempt.pause()


async def _lingering(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE, word("a"), FINISH, DONE)
    await trial.observer.over()


async def _in_an_error_body(peer: Peer, trial: Trial) -> None:
    peer.send(b"HTTP/1.1 500 x\r\nContent-Length: 10\r\n\r\n{")
    await until(lambda: trial.attempt.marks.head)


PHASES = [_before_the_head, _after_the_head, _before_content, _flowing, _paused, _lingering, _in_an_error_body]
