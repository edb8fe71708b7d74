"""Wiring: `rivergate token`: a viewer token, minted with the keys beside the books."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import clock
from gateway.access import token_keys
from gateway.access.viewer_token import ViewerToken, mint
from gateway.commands import running
from gateway.commands.options import ConfigOption
from gateway.http.channel_request import audience_of
from gateway.http.stream_request import MAX_TTL_SECONDS


def token(
    streams: Annotated[list[str], typer.Argument(help="A stream's id, or feed:NAME; or several of them.")],
    ttl: Annotated[int, typer.Option(min=1, max=MAX_TTL_SECONDS, help="Seconds until it expires.")] = 3600,
    config_file: ConfigOption = None,
) -> None:
    """Mint a viewer token: whoever has it may read these streams and feeds until it expires."""
    loaded = running.find_and_load(config_file)
    signing = running.or_fail(lambda: token_keys.load(Path(loaded.storage.path)))
    audience = " ".join(map(audience_of, streams))
    typer.echo(mint(ViewerToken(audience, int(clock.wall_time()) + ttl), signing[0]))
