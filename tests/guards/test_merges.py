"""What a subscription to several channels costs, as counts: a delivery costs what it costs with one stream alone."""

from pathlib import Path

from tests.kit.bytecodes import Bytecodes
from tests.kit.chain import Client, Run

from .test_joins import BY_THE_CLOCK, COUNTED, EVENTS, FEED, MARGIN, Scene, run

__all__ = ["run"]  # the fixture

ALONE, MERGED = "the feed alone", "the feed as a channel"
# Bytecodes of an event beside those of an event of the feed alone, however many clients receive it: 1390 were seen,
# and a busy machine cuts a pass into more slices. The event is appended once more, and a pass over the subscribers of
# the merge begins.
MORE = 1600
APPEND, SEND_ALL = "stream/log.py:StreamLog.append", "delivery/in_step.py:_send_all"


async def join(scene: Scene, path: str, count: int) -> list[Client]:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
    return [await arrived(scene, request) for _ in range(count)]


async def arrived(scene: Scene, request: bytes) -> Client:
    client = await Client.open(scene.chain.port, request)
    await client.until(b"retry: ")
    return client


def test_an_event_is_appended_once_more_and_sent_to_all_in_one_loop(run: Run, tmp_path: Path) -> None:
    counts, appends, sends = Bytecodes(), list[int](), list[int]()

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            stream_id = scene.chain.events_path.split("/")[3]
            merged = f"/v1/events?feed=news&stream={stream_id}&from=now"
            for phase, path in ((ALONE, FEED), (MERGED, merged)):
                joined = await join(scene, path, COUNTED)
                await scene.publish("feed", joined)
                counts.begin(phase)
                with counts.counting():
                    for _ in range(EVENTS):
                        await scene.publish("feed", joined)
                appends.append(counts.calls(APPEND) - sum(appends))
                sends.append(counts.calls(SEND_ALL) - sum(sends))
                await scene.leave(joined)

    run(main())
    assert appends == [EVENTS, 2 * EVENTS]
    assert sends == [EVENTS, 2 * EVENTS]  # one more loop is for a client that stays at the feed alone
    more = (counts.executed(MERGED, BY_THE_CLOCK) - counts.executed(ALONE, BY_THE_CLOCK)) / EVENTS
    assert more < MORE * MARGIN, more
