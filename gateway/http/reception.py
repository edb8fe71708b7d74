"""Shell: the reception of a request for an answer on aiohttp's way, from its head to the place that it gets."""

from aiohttp import web

from gateway.dialects.dialect import Dialect
from gateway.dialects.request_body import SHORT_BYTES
from gateway.errors import ClientError
from gateway.http.admission import head_of
from gateway.http.answer_plan import plan_answer
from gateway.http.body import check_client, read_checked
from gateway.http.opening import Opening
from gateway.http.streamed_reply import ReplyParts
from gateway.http.waiting import WaitingBody
from gateway.upstream.read_work import ReadWork


async def receive(request: web.Request, parts: ReplyParts, dialect: Dialect, *, detached: bool = False) -> Opening:
    """An admitted opening for the request. `detached`: the answer begins without a subscriber.

    Raises `RivergateError`. A request that is refused for what it asks counts against the rate of its key.
    """
    head, waiting = head_of(request), WaitingBody(parts.waiting)
    parts.admission.check_rate(head.caller, head.headers)
    try:
        try:
            checked = await read_checked(request, dialect, parts.turns, waiting)
            plan = plan_answer(head.headers, checked, parts.in_force.config.stream, detached=detached)
            opening = Opening(parts.opening, plan, head)
            opening.hold(waiting)
            opening.prepare()
            if len(checked.content) > SHORT_BYTES:
                work = ReadWork(opening.work_on_body())
                while not await parts.turns.run(work.run):
                    check_client(request)
        except ClientError as error:
            parts.admission.count_refused(error, head.caller)
            raise
        await opening.admit()
    except BaseException:
        waiting.close()
        raise
    return opening
