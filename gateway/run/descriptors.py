"""Shell: the limit of open files, and how many connections it leaves room for."""

import logging
import resource

RESERVED = 512  # descriptors kept free for upstreams, files and listeners; a POST stream needs two more of its own

_log = logging.getLogger("rivergate")


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def room_for_connections(max_connections: int, limit: int) -> int:
    """`server.max_connections`, or what the limit of open files allows if that is less, with a warning."""
    room = max(limit - RESERVED, 1)
    if room < max_connections:
        fields = {"max_connections": max_connections, "open_files": limit, "now": room}
        _log.warning("max_connections is capped by the limit of open files", extra={"fields": fields})
    return min(max_connections, room)
