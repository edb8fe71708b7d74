"""No subscription to many channels holds the event loop, however far behind its subscriber is."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call
from tests.kit.sse_client import Event, Subscriber

pytestmark = pytest.mark.deep

LONGEST_TURN = 0.02
CHANNELS = 64
FEEDS = [f"news{number}" for number in range(CHANNELS)]
ALL = "/v1/events?" + "&".join(f"feed={name}" for name in FEEDS)
BATCH = 10_000  # the most events of one body


@pytest.fixture
def gateway(logs: Path) -> Iterator[LocalGateway]:
    """A gateway in which half of the feeds keep as many events as a body brings."""
    sections = [
        f'[[feeds]]\nname = "{name}"\npublish = true\nretain_events = {BATCH if number % 2 else 1000}\n'
        for number, name in enumerate(FEEDS)
    ]
    gateway = LocalGateway(logs, '[server]\nlisten = "127.0.0.1:0"\n' + "".join(sections))
    yield gateway
    gateway.close()


def publish(gateway: LocalGateway, name: str, count: int) -> None:
    kind = "application/x-ndjson"
    answer = call(gateway, "POST", f"/v1/feeds/{name}/events", b'{"data":1}\n' * count, Content_Type=kind)
    assert answer.status == 202


def begun(gateway: LocalGateway) -> tuple[Subscriber, str]:
    """A subscriber to all channels that has been sent one event, and the id of it."""
    subscriber = Subscriber(gateway.port, ALL)
    publish(gateway, FEEDS[0], 1)
    (event,) = subscriber.events(1)
    assert event.id is not None
    return subscriber, event.id


def read_on(subscriber: Subscriber) -> threading.Thread:
    def read() -> None:
        while subscriber.socket.recv(1 << 20):
            pass

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def come_back(gateway: LocalGateway, last_id: str, events: int) -> list[Event]:
    subscriber = Subscriber(gateway.port, ALL, Last_Event_ID=last_id)
    found = subscriber.events(events)
    subscriber.close()
    return found


def missed_in(events: list[Event]) -> int:
    return sum(event.json["missed"] for event in events if event.name == "gap")


def test_a_subscriber_that_is_200_000_events_behind_holds_up_nobody(gateway: LocalGateway) -> None:
    staying, last_id = begun(gateway)
    reading = read_on(staying)
    for name in FEEDS[:20]:
        publish(gateway, name, BATCH)
    for name in FEEDS:
        publish(gateway, name, 1)
    events, longest = gateway.watch(lambda: come_back(gateway, last_id, 30_000), LONGEST_TURN)
    assert missed_in(events) > 0
    assert longest < LONGEST_TURN
    staying.socket.shutdown(socket.SHUT_RDWR)
    reading.join()
    staying.close()


def test_a_subscription_that_comes_back_after_300_000_events_holds_up_nobody(gateway: LocalGateway) -> None:
    subscriber, last_id = begun(gateway)
    subscriber.close()
    for name in FEEDS[1::2]:
        publish(gateway, name, BATCH)
    events, longest = gateway.watch(lambda: come_back(gateway, last_id, 50_000), LONGEST_TURN)
    assert missed_in(events) == 0
    assert longest < LONGEST_TURN
