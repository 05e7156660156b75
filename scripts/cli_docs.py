"""Writes docs/cli.md, the `--help` of every verb. `make test` fails where it is not up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child, click.Context(child, context, name, max_content_width=100, terminal_width=100))


def page() -> str:
    """The whole page."""
    from pannikin.cli.verbs import root

    start = click.Context(root, info_name="pannikin", max_content_width=100, terminal_width=100)
    parts = ["# Verbs and flags\n\nMade by `python scripts/cli_docs.py` from the program itself.\n"]
    for path, text in _commands(root, start):
        parts.append(f"## {path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
