"""Options that several verbs share, and the reading of their values."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import click

from pannikin.errors import UsageError

progress = click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "tty", "json", "quiet"]),
    default="auto",
    help="How progress is shown on stderr.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def pairs(given: Sequence[str], option: str, *, from_environment: bool = False) -> dict[str, str]:
    """`KEY=VALUE` words as a dict. Raises `UsageError`."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or (not equals and not from_environment):
            raise UsageError(f"{option} {text!r} is not KEY=VALUE")
        if equals:
            found[key] = value
        elif key in os.environ:
            found[key] = os.environ[key]
    return found


def quantity(text: str) -> int:
    """Bytes as docker's flags write them: 512m, 2g, 1048576 (powers of 1024). Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise UsageError(f"not a number of bytes: {text!r}", hint="write 512m or 2g")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] if match[2] not in ("", "b") else " "))
