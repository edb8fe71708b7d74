"""Shell: the fast way of a plain streamed completion: from the bytes of its request to its upstream in one call.

It needs no task, no turn of the event loop, no request object, route or middleware, and so it takes a quarter of the
time before a first token (bench/README.md). Like aiohttp's way it takes the steps of `Admission`, and renders errors
with `errors.render`. It leaves five kinds of request to aiohttp's way: for a whole answer, with a key that only the
books know, where the bank or the directory has to be waited for, when there is no room, and with a body that takes
long to read.
"""

import asyncio
import re
from functools import lru_cache

from gateway.dialects.dialect import CheckedRequest, Dialect, check
from gateway.dialects.request_body import KEPT_WHOLE_BYTES, is_read_at_once
from gateway.http.admission import RequestHead
from gateway.http.answer_plan import AnswerPlan, PlainPlans, plan_answer
from gateway.http.capacity import NoRoom
from gateway.http.client_connection import ClientProtocol
from gateway.http.errors import as_rivergate_error, render
from gateway.http.fast_subscription import FastSubscription
from gateway.http.known_head import MAX_KNOWN_HEADS, KnownHead, known_head
from gateway.http.opening import Opening
from gateway.http.request_id import new_request_id
from gateway.http.request_parser import MAX_CONTENT_BYTES, PlainRequest, Unparsed, parse_request
from gateway.http.streamed_reply import ReplyParts, StreamedReply
from gateway.http.waiting import WaitingBody

HEADS_SECONDS = 60.0  # a head holds the API key of its client, so it is not remembered for long

_STREAMED = re.compile(rb'"stream"\s*:\s*true')  # a body without these bytes asks for a whole answer


class FastPath:
    """The fast way for all connections (`client_connection.FastWay`)."""

    def __init__(self, parts: ReplyParts, max_body_bytes: int) -> None:
        self._parts = parts
        self._max_content_bytes = min(max_body_bytes, MAX_CONTENT_BYTES)
        self._find_head = _KnownHeads().find
        self._plans: PlainPlans | None = None  # under the configuration in force
        self._subscription = FastSubscription(parts)

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        """The plain request that these bytes begin with."""
        return parse_request(data, self._max_content_bytes, self._find_head)

    def answer(self, client: ClientProtocol, request: PlainRequest) -> bool:
        """Answer the request, or refuse it with an error; False: aiohttp has to answer."""
        known, content = request.head, request.content
        if known is None:
            return request.events is not None and self._subscription.answer(client, request, request.events)
        is_long = len(content) > KEPT_WHOLE_BYTES
        if not _STREAMED.search(content) or (is_long and not is_read_at_once(content)):
            return False
        parts, caller = self._parts, None
        try:
            caller = parts.admission.enter_again(known)
            if caller is None:
                return False
            if caller.account is not None:
                parts.admission.check_rate(caller, known.headers)
            checked = check(request.dialect, content)
            if not checked.request.streamed:
                return False
            plan = self._plan(known, checked)
        except NoRoom:
            return False
        except Exception as error:
            parts.admission.count_refused(error, caller)
            request_id = known.request_id or new_request_id()
            head = RequestHead(known.headers, request_id, caller, request.query, request.dialect)
            _FastReply(client, parts, head, request.dialect).refuse(error)
            return True
        request_id = known.request_id or new_request_id()
        head = RequestHead(known.headers, request_id, caller, request.query, request.dialect)
        opening = Opening(parts.opening, plan, head)
        if not opening.answers_at_once:
            return False
        reply = _FastReply(client, parts, head, request.dialect)
        if is_long and not reply.holds(opening, len(content)):
            return True
        reply.start(opening)
        return True

    def _plan(self, known: KnownHead, checked: CheckedRequest) -> AnswerPlan:
        """The plan of an answer. Raises `ClientError`."""
        limits, plans = self._parts.in_force.config.stream, self._plans
        if known.asks_nothing and (model_id := checked.request.only_model()) is not None:
            if plans is None or plans.limits is not limits:  # a reload has exchanged the configuration
                plans = self._plans = PlainPlans.of(limits)
            return plans.plan(checked, model_id)
        return plan_answer(known.headers, checked, limits)


class _KnownHeads:
    """The heads that were found in the last `HEADS_SECONDS`."""

    def __init__(self) -> None:
        self.find = lru_cache(maxsize=MAX_KNOWN_HEADS)(self._find)
        self._timer: asyncio.TimerHandle | None = None

    def _find(self, lines: bytes) -> KnownHead | None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEADS_SECONDS, self._forget)
        return known_head(lines)

    def _forget(self) -> None:
        self._timer = None
        self.find.cache_clear()


class _FastReply:
    """The reply to one request, streamed or an error."""

    __slots__ = ("_client", "_dialect", "_head", "_parts", "_reply")

    def __init__(self, client: ClientProtocol, parts: ReplyParts, head: RequestHead, dialect: Dialect) -> None:
        self._client = client
        self._dialect = dialect
        self._parts = parts
        self._head = head
        self._reply = StreamedReply(client, self._on_end)

    def start(self, opening: Opening) -> None:
        try:
            opening.prepare()
        except Exception as error:
            self._parts.admission.count_refused(error, self._head.caller)
            self._refuse_opening(opening, error)
            return
        try:
            opening.admit_at_once()
        except Exception as error:
            self._refuse_opening(opening, error)
        else:
            self._reply.start(opening, self._parts, chunked=True, keep_alive=True)

    def holds(self, opening: Opening, size: int) -> bool:
        """Take the memory for a long body; False: there is none, and the request is refused."""
        waiting = WaitingBody(self._parts.waiting)
        try:
            waiting.grow(size)
        except Exception as error:
            self.refuse(error)
            return False
        opening.hold(waiting)
        return True

    def refuse(self, error: Exception) -> None:
        self._reply.fail(error)

    def _refuse_opening(self, opening: Opening, error: Exception) -> None:
        opening.let_go()
        self._reply.fail(error)

    def _on_end(self, outcome: Exception | None) -> None:
        is_open = outcome is None
        try:
            if outcome is not None and not isinstance(outcome, ConnectionResetError):
                is_open = self._write_error(outcome)
        finally:
            self._client.on_answered(keep_alive=is_open)

    def _write_error(self, outcome: Exception) -> bool:
        """Answer with this error; return whether that was still possible."""
        error = as_rivergate_error(outcome, self._head.request_id)
        transport = self._client.transport
        if self._reply.head_bytes or transport is None:
            return False
        headers, dialect = self._parts.admission.answer_headers(self._head), self._dialect
        refused = render(error, headers, dialect=dialect, request_id=self._head.request_id)
        told = f"POST {dialect.path}", refused.reason
        self._parts.refusals.on_refused(refused.status, refused.code, self._head, *told)
        transport.write(refused.encode())
        return True
