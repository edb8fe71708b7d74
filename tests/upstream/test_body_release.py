"""A body whose owner lets go of it in the middle of a read: the owner hears nothing that comes behind."""

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.errors import RivergateError
from gateway.upstream.bodies import BodyReader, StreamBody
from gateway.upstream.error_body import ErrorBody, ErrorHead
from gateway.upstream.whole_body import WholeBody

from .kit import DONE, FINISH, ROLE, word

IDENTITY = AnswerIdentity("1", 1, "m")
WHOLE = b'{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}'


class LeavingOwner:
    """An owner that ends and releases its body at the first content, or at the first frames behind it."""

    singly = False

    def __init__(self, moment: str) -> None:
        self.calls: list[str] = []
        self.body: BodyReader
        self._moment = moment

    def on_content(self) -> None:
        if self._moment == "frames" and isinstance(self.body, StreamBody):
            self.body.flow_to(self)
        self._note("content")

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        self.on_frames([frame])

    def on_frames(self, frames: list[bytes]) -> None:
        if "content" in self.calls:
            self._note("frames")

    def on_complete(self) -> None:
        if isinstance(self.body, StreamBody):
            self.body.deliver_last()
        self._note("complete")

    def on_broken(self, error: RivergateError) -> None:
        self._note("broken")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._moment:
            self.body.over = True
            self.body.release()


@pytest.mark.parametrize("rest", [[FINISH], [b'data: {"error": {"message": "x"}}\n\n'], [b"x" * 30_000_000]])
@pytest.mark.parametrize("moment", ["content", "frames"])
def test_a_stream_that_is_released_in_a_read_says_nothing_of_its_rest(moment: str, rest: list[bytes]) -> None:
    owner = LeavingOwner(moment)
    owner.body = StreamBody(owner, CHAT.reader(IDENTITY))
    owner.body.feed(b"".join([ROLE, word("a"), word("b"), *rest]))
    owner.body.feed(word("c") + DONE)
    owner.body.finish()
    assert owner.calls == (["content"] if moment == "content" else ["content", "frames"])


def test_a_whole_answer_is_complete_for_the_owner_that_lets_go_of_it_at_its_content() -> None:
    owner = LeavingOwner("content")
    owner.body = WholeBody(owner, CHAT, IDENTITY)
    owner.body.feed(WHOLE)
    owner.body.finish()
    owner.body.finish()
    assert owner.calls == ["content", "complete"]  # in one call: an attempt that has ended ignores the second


def test_an_error_body_that_is_released_says_nothing_more() -> None:
    owner = LeavingOwner("broken")
    owner.body = ErrorBody(owner, CHAT, ErrorHead(500, {}, "a completion"))
    owner.body.finish()
    owner.body.feed(b"x" * 100_000)
    owner.body.finish()
    assert owner.calls == ["broken"]
