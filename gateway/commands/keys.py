"""Wiring: `rivergate keys`: API keys in the books, and how they are printed."""

import datetime
import json
from decimal import Decimal
from typing import Annotated, Any

import typer

from gateway import clock
from gateway.access.books import Key
from gateway.commands import key_orders, running
from gateway.commands.options import ConfigOption, JsonOption

MICRO = 1_000_000  # micro-dollars in a dollar

keys = typer.Typer(help="API keys in the ledger.", no_args_is_help=True)


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="Whose it is.")],
    models: Annotated[str | None, typer.Option(help="Only these, a,b,c; else all.")] = None,
    balance_usd: Annotated[str | None, typer.Option(help="What it may spend; else any amount.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Requests running at once.")] = None,
    expires: Annotated[str | None, typer.Option(help="2027-01-31, 2027-01-31T12:00:00Z, 90d or 12h.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It reads the streams of all keys.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="It publishes events to feeds.")] = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Make an API key. Its secret is shown this once."""
    order = key_orders.KeyOrder(name, models, balance_usd, rpm, max_streams, expires, admin, publish)
    secret, key = running.or_fail(lambda: key_orders.create(running.find_and_load(config_file), order))
    if as_json:
        typer.echo(_in_json({"secret": secret, **_as_json(key)}))
    else:
        typer.echo(f"{secret}\n\nThis is shown only once. Its id is {key.id}.")


@keys.command("list")
def list_all(as_json: JsonOption = False, config_file: ConfigOption = None) -> None:
    """All keys, without their secrets."""
    found = running.or_fail(lambda: key_orders.all_keys(running.find_and_load(config_file)))
    typer.echo(_in_json([_as_json(key) for key in found]) if as_json else _table(found))


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Refuse a key from now on; a running server knows within two seconds."""
    running.or_fail(lambda: key_orders.revoke(running.find_and_load(config_file), key_id))
    typer.echo(_in_json({"id": key_id, "revoked": True}) if as_json else f"{key_id} is revoked")


@keys.command("credit", context_settings={"ignore_unknown_options": True})  # so that -5 is read as an amount
def credit(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    usd: Annotated[str, typer.Argument(metavar="USD")],
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Add US dollars to a key's balance."""
    balance = running.or_fail(lambda: key_orders.credit(running.find_and_load(config_file), key_id, usd)) / MICRO
    typer.echo(_in_json({"id": key_id, "balance_usd": balance}) if as_json else f"{key_id} has {balance:.6f} USD")


def _as_json(key: Key) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "models": list(key.models),
        "rpm": key.rpm,
        "max_streams": key.max_streams,
        "admin": key.admin,
        "publish": key.publish,
        "balance_usd": None if key.balance_microusd is None else key.balance_microusd / MICRO,
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "revoked_at": _moment(key.revoked_at),
    }


def _table(keys: list[Key]) -> str:
    """The keys for people, one line each."""
    if not keys:
        return "no keys: `rivergate keys create --name NAME` makes one"
    heads = ("id", "name", "key", "models", "rpm", "streams", "balance USD", "may also", "expires", "state")
    rows = [heads, *(_row(key) for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _in_json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _row(key: Key) -> tuple[str, ...]:
    expired = key.expires_at is not None and key.expires_at <= clock.wall_time()
    return (
        key.id,
        key.name,
        f"{key.prefix}...",
        ",".join(key.models) or "all",
        str(key.rpm or "-"),
        str(key.max_streams or "-"),
        "-" if key.balance_microusd is None else f"{Decimal(key.balance_microusd) / MICRO:.6f}",
        ", ".join(key.rights) or "-",
        (_moment(key.expires_at) or "never")[:16],
        "revoked" if key.revoked_at is not None else "expired" if expired else "active",
    )
