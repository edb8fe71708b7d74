"""What the log of no gateway may hold: a secret, what was said in a completion, a traceback, an unexpected error.

Every gateway of the kit is held to these rules when it ends.
"""

import json

from .completions import CLIENT_KEY, PROMPT, UPSTREAM_KEY, text

SECRETS = (PROMPT, CLIENT_KEY, UPSTREAM_KEY, text(4), "Bearer", "rgv_")
FIELDS = {"at", "level", "logger", "event"}
PROVOKED_ERRORS = (
    "attempt failed",
    "the ledger cannot be written",
    "a record is not in the ledger; book it by hand",
    "the new configuration is faulty",
    "Failed to export spans",
    "Exception while exporting Span",
)


def faults(written: str) -> list[str]:
    """Every breach of the rules in what a gateway has written, in words; empty if there is none."""
    found = [f"a secret is told: {secret}" for secret in SECRETS if secret in written]
    if "Traceback" in written:
        found.append("a traceback")
    for line in written.splitlines():
        if line.startswith("{"):
            found += _faults_of_line(line)
    return found


def _faults_of_line(line: str) -> list[str]:
    fields = json.loads(line)
    missing = FIELDS - fields.keys()
    found = [f"{sorted(missing)} missing in {line}"] if missing else []
    if fields.get("level") == "error" and not any(error in line for error in PROVOKED_ERRORS):
        found.append(f"an error: {line}")
    return found
