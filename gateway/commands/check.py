"""Wiring: `rivergate check`: prints every fault of a configuration and every warning, or its summary."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import config
from gateway.commands import running
from gateway.commands.options import JsonOption
from gateway.config import Finding
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.commands.probe import ProbeResult

PROBE_SECONDS = 10.0  # how long an upstream may take to name its models; the slowest known answers within three


def check(
    file: Annotated[
        Path | None, typer.Argument(help="TOML file; else ./rivergate.toml, then /etc/rivergate/rivergate.toml.")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Ask each upstream for its models, with its key.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds for each upstream.")] = PROBE_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Validate a configuration; print faults and warnings; exit 2 if there is a fault. It needs no secret."""
    path = running.find_file(file)
    examined = _examined(path)
    loaded = examined.config
    unusable = _unusable_files(loaded) if loaded is not None else []
    faults = [*examined.faults, *unusable, *(_storage_faults(loaded) if loaded is not None else [])]
    probed = _probed(loaded, timeout) if probe and loaded is not None and not unusable else []
    summary = config.summary(loaded) if loaded is not None and not faults else []
    if as_json:
        typer.echo(json.dumps(_as_json(faults, examined.warnings, summary, probed), indent=2))
    else:
        _print(faults, examined.warnings, summary, probed)
    if faults or any(result.is_fault for result in probed):
        raise typer.Exit(2)


def _examined(path: Path | None) -> config.Examination:
    try:
        return config.examine(path, os.environ)
    except ConfigError as error:  # the file cannot be read at all
        return config.Examination(None, [Finding("", "", fault) for fault in error.faults], [])


def _unusable_files(loaded: config.Config) -> list[Finding]:
    """The faults of the certificate files that the configuration names."""
    from gateway.run import build

    try:
        build.probe(loaded)
    except ConfigError as error:
        return [Finding("", "", fault) for fault in error.faults]
    return []


def _storage_faults(loaded: config.Config) -> list[Finding]:
    from gateway.access.storage_check import storage_fault

    reason = storage_fault(loaded.storage)
    return [] if reason is None else [Finding("storage.path", "", reason)]


def _probed(loaded: config.Config, seconds: float) -> list["ProbeResult"]:
    from gateway.commands.probe import probe

    results: list[ProbeResult] = []

    async def ask() -> None:
        results.extend(await probe(loaded, seconds))

    running.run(ask())
    return results


def _print(faults: list[Finding], warnings: list[Finding], summary: list[str], probed: list["ProbeResult"]) -> None:
    for fault in faults:
        print(f"rivergate: {fault.line()}", file=sys.stderr)
    for warning in warnings:
        print(f"rivergate: warning: {warning.line()}", file=sys.stderr)
    for line in [*summary, *(f"probe: {result.line()}" for result in probed)]:
        typer.echo(line)


def _as_json(
    faults: list[Finding], warnings: list[Finding], summary: list[str], probed: list["ProbeResult"]
) -> dict[str, Any]:
    def told(findings: list[Finding]) -> list[dict[str, str]]:
        return [{"key": found.key, "owner": found.owner, "message": found.message} for found in findings]

    return {
        "faults": told(faults),
        "warnings": told(warnings),
        "summary": summary,
        "probe": [result.as_json() for result in probed],
    }
