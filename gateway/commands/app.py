"""Wiring: the command line.

What only one command needs is imported when that runs: a start of the server waits for no simulator and no picture.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from gateway import __version__, clock, config
from gateway.access import token_keys
from gateway.access.viewer_token import ViewerToken, mint
from gateway.commands import keys
from gateway.errors import ConfigError
from gateway.http.stream_request import MAX_TTL_SECONDS
from gateway.observe import logs
from gateway.run import systemd

if TYPE_CHECKING:
    from gateway.run.service import Service
    from gateway.simulate import Script

_Result = TypeVar("_Result")

app = typer.Typer(
    name="rivergate",
    help="An OpenAI-compatible streaming gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; else ./rivergate.toml, then /etc/rivergate/rivergate.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]

keys_app = typer.Typer(help="API keys in the ledger.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"rivergate {__version__}")
        raise typer.Exit


@app.command()
def serve(config_file: ConfigOption = None, log_level: LogLevel = "info") -> None:
    """Run the gateway."""
    path = config_file or config.find(os.environ, Path.cwd())
    if path is None and not any(name.startswith("RIVERGATE_UPSTREAMS__") for name in os.environ):
        _fail(
            [
                "no configuration: name one with --config, or write ./rivergate.toml or "
                f"{config.SYSTEM_FILE}; `rivergate demo` needs none"
            ]
        )
    loaded = _load(path)
    _configure_logs(log_level)
    from gateway.run import supervision
    from gateway.run.service import Service

    async def serving() -> None:
        service = Service(loaded, systemd.take_sockets(os.environ))
        await supervision.run(service, lambda: _reload(service, path))

    _run(serving())


@app.command("demo")
def run_demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.")] = 8080,
    log_level: LogLevel = "warning",
) -> None:
    """Run the gateway in front of two simulated providers: no key, no network, no configuration."""
    from gateway.commands import demo

    _configure_logs(log_level)
    _run(demo.run(port))


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The TOML file to check.")]) -> None:
    """Validate a configuration; print every fault, exit 2 if there is one."""
    from gateway.run import build as assembly

    loaded = _load(file)
    _asked(lambda: assembly.probe(loaded))
    for line in config.summary(loaded):
        typer.echo(line)


@app.command()
def token(
    stream: Annotated[str, typer.Argument(help="A stream's id, or feed:NAME.")],
    ttl: Annotated[int, typer.Option(min=1, max=MAX_TTL_SECONDS, help="Seconds until it expires.")] = 3600,
    config_file: ConfigOption = None,
) -> None:
    """Mint a viewer token: whoever has it may read this one stream until it expires."""
    loaded = _found(config_file)
    signing = _asked(lambda: token_keys.load(Path(loaded.storage.path)))
    audience = stream if stream.startswith("feed:") else f"stream:{stream}"
    typer.echo(mint(ViewerToken(audience, int(clock.wall_time()) + ttl), signing[0]))


@app.command("top")
def show_top(
    url: Annotated[str, typer.Option(help="A running gateway.")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(help="A viewer token for feed:statistics.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and exit.")] = False,
) -> None:
    """Watch a gateway: streams, upstreams, latencies. Ctrl-C ends it."""
    from gateway.commands import top

    _run(top.run(top.Target(url, token), once=once))


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose it is.")],
    models: Annotated[str | None, typer.Option(help="Only these, a,b,c; else all.")] = None,
    balance_usd: Annotated[str | None, typer.Option(help="What it may spend; else any amount.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Requests running at once.")] = None,
    expires: Annotated[str | None, typer.Option(help="2027-01-31, 2027-01-31T12:00:00Z, 90d or 12h.")] = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Make an API key. Its secret is shown this once."""
    wish = keys.KeyOrder(name, models, balance_usd, rpm, max_streams, expires)
    secret, key = _asked(lambda: keys.create(_found(config_file), wish))
    if as_json:
        typer.echo(keys.in_json({"secret": secret, **keys.as_json(key)}))
    else:
        typer.echo(f"{secret}\n\nThis is shown only once. Its id is {key.id}.")


@keys_app.command("list")
def list_keys(as_json: JsonOption = False, config_file: ConfigOption = None) -> None:
    """All keys, without their secrets."""
    found = _asked(lambda: keys.listed(_found(config_file)))
    typer.echo(keys.in_json([keys.as_json(key) for key in found]) if as_json else keys.table(found))


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Refuse a key from now on; a running server knows within two seconds."""
    _asked(lambda: keys.revoke(_found(config_file), key_id))
    typer.echo(keys.in_json({"id": key_id, "revoked": True}) if as_json else f"{key_id} is revoked")


@keys_app.command("credit", context_settings={"ignore_unknown_options": True})  # so that -5 is an amount
def credit_key(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    usd: Annotated[str, typer.Argument(metavar="USD")],
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Add US dollars to a key's balance."""
    balance = _asked(lambda: keys.credit(_found(config_file), key_id, usd)) / 1_000_000
    typer.echo(keys.in_json({"id": key_id, "balance_usd": balance}) if as_json else f"{key_id} has {balance:.6f} USD")


@app.command()
def sim(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the kernel choose.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    ttft_ms: Annotated[float, typer.Option(help="Request to first content.")] = 50.0,
    gap_ms: Annotated[float, typer.Option(help="Between tokens.")] = 10.0,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    script: Annotated[str, typer.Option(help="More of the script, as JSON; see gateway/simulate/script.py.")] = "{}",
) -> None:
    """Run a simulated provider alone."""
    from gateway.commands.demo import parse_script
    from gateway.simulate import Script

    try:
        told = {"ttft_ms": ttft_ms, "gap_ms": gap_ms, "tokens": tokens, "seed": seed, **parse_script(script)}
        parsed = Script.parse(told)
    except ValueError as error:
        _fail([f"script: {error}"])
    _run(_simulate(host, port, parsed))


def _reload(service: "Service", path: Path | None) -> None:
    try:
        service.reload(config.load(path, os.environ))
    except ConfigError as error:
        logging.getLogger("rivergate").error(
            "the new configuration is faulty; the old one stays", extra={"fields": {"faults": error.faults}}
        )


async def _simulate(host: str, port: int, script: "Script") -> None:
    from gateway.commands.demo import wait_for_signal
    from gateway.simulate import Provider

    try:
        provider = await Provider.start(host=host, port=port, script=script)
    except OSError as error:
        raise ConfigError([f"cannot listen on {host}:{port}: {error.strerror or error}"]) from None
    typer.echo(f"simulated provider at {provider.base_url}")
    try:
        await wait_for_signal()
    finally:
        await provider.close()


def _load(path: Path | None) -> config.Config:
    try:
        return config.load(path, os.environ)
    except ConfigError as error:
        _fail(error.faults)


def _found(config_file: Path | None) -> config.Config:
    return _load(config_file or config.find(os.environ, Path.cwd()))


def _asked(call: Callable[[], _Result]) -> _Result:
    """What a command does; its faults on standard error, exit 2."""
    try:
        return call()
    except ConfigError as error:
        _fail(error.faults)


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        gc.enable()  # all is imported
        try:
            runner.run(coroutine)
        except ConfigError as error:
            _fail(error.faults)


def _loop_factory() -> Any:
    """uvloop where it is installed; plain asyncio does everything, only slower."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _configure_logs(level: str) -> None:
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        _fail([f"--log-level must be debug, info, warning or error, not {level!r}"])
    logs.configure(level.upper())


def _fail(faults: list[str]) -> NoReturn:
    for fault in faults:
        print(f"rivergate: {fault}", file=sys.stderr)
    raise typer.Exit(2)
