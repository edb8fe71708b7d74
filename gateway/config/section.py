"""Pure: what every section of the configuration is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the configuration: frozen, and a key that is not declared is a fault."""

    # `defer_build`: a section is only read as a part of the whole configuration, so it needs no validator of its own.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def described(default: Any, description: str) -> Any:
    """A key with its default and its sentence."""
    return Field(default, description=description)


def number(default: float, low: float, high: float, description: str) -> Any:
    """A key that holds a number from `low` to `high`."""
    return Field(default, ge=low, le=high, description=description)
