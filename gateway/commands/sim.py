"""Wiring: `rivergate sim`: a simulated provider alone."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands import running
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.simulate import Script

LIST = "list"  # the value of `--like` that prints the names of all providers


def sim(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the kernel choose.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    like: Annotated[
        str | None,
        typer.Option(
            help="A real provider whose paths, refusals and quirks it plays, such as groq; list: all of them."
        ),
    ] = None,
    ttft_ms: Annotated[float, typer.Option(help="Request to first content.")] = 50.0,
    gap_ms: Annotated[float, typer.Option(help="Between tokens.")] = 10.0,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same words.")] = 0,
    script: Annotated[str, typer.Option(help="More of the script, as JSON; see gateway/simulate/script.py.")] = "{}",
) -> None:
    """Run a simulated provider alone."""
    if like == LIST:
        _print_likenesses()
        return
    from gateway.simulate import usual_script

    try:
        usual = usual_script(like or "")
    except ValueError as error:
        running.fail([f"like: {error}"])
    try:
        parsed = usual.replace(
            {"ttft_ms": ttft_ms, "gap_ms": gap_ms, "tokens": tokens, "seed": seed, **_parse(script)}
        )
    except ValueError as error:
        running.fail([f"script: {error}"])
    running.run(_simulate(host, port, parsed, like or ""))


async def _simulate(host: str, port: int, script: "Script", like: str) -> None:
    from gateway.simulate import Provider

    stop = running.stop_signal()
    try:
        provider = await Provider.start(host=host, port=port, script=script, like=like)
    except OSError as error:
        raise ConfigError([f"cannot listen on {host}:{port}: {error.strerror or error}"]) from None
    typer.echo(f"simulated provider at {provider.base_url}")
    try:
        await stop.wait()
    finally:
        await provider.close()


def _print_likenesses() -> None:
    from gateway.simulate.likeness import LIKENESSES

    width = max(map(len, LIKENESSES))
    for name, likeness in LIKENESSES.items():
        typer.echo(f"{name:{width}}  {likeness.title}")


def _parse(text: str) -> dict[str, Any]:
    """A script's fields from JSON. Raises `ValueError`."""
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError("must be a JSON object")
    return parsed
