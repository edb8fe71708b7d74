"""The merge of several channels: each viewer gets each of them in order, each event once, or is told of a gap."""

from tests.merge.world import World, told_in


def body_of(viewer_of: tuple[object, object] | None) -> bytes:
    assert viewer_of is not None
    return viewer_of[1].body  # type: ignore[attr-defined, no-any-return]


async def test_a_first_viewer_gets_what_the_channels_hold_and_then_what_comes() -> None:
    world = World(["a", "b"])
    world.append("a", 2)
    world.append("b")
    viewer = world.open(["a", "b"])
    world.append("b")
    world.append("a")
    events = told_in(body_of(viewer))
    assert [(event.name, event.data) for event in events] == [
        ("a", b"0"),
        ("a", b"1"),
        ("b", b"0"),
        ("b", b"1"),
        ("a", b"2"),
    ]
    assert len({event.id for event in events}) == 5
