"""The command line: one module a verb, imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def main(args: Sequence[str] | None = None) -> None:
    """The `pannikin` command. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."""
    given = list(sys.argv[1:] if args is None else args)
    if given == ["--version"]:
        from pannikin import __version__

        print(f"pannikin {__version__}")
        return
    sys.exit(_guarded(given))


def _guarded(given: list[str]) -> int:
    from pannikin.errors import PannikinError

    try:
        from pannikin.cli.verbs import root

        return int(root.main(given, prog_name="pannikin", standalone_mode=False) or 0)
    except PannikinError as error:
        from pannikin.cli.screen import show_error

        show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\npannikin: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more when it ends
        return 1
    except Exception as error:
        return _other(error)


def _other(error: Exception) -> int:
    import click

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        print("\npannikin: interrupted", file=sys.stderr)
        return 130
    if isinstance(error, click.ClickException):
        return _usage(error)
    if os.environ.get("PANNIKIN_DEBUG"):
        raise error
    if isinstance(error, OSError):
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        print(f"pannikin: {place}{(error.strerror or str(error)).lower()}", file=sys.stderr)
        return 1
    what = f"{type(error).__name__}: {error}".split("\n")[0]
    print(f"pannikin: this is a bug: {what}", file=sys.stderr)
    print("  hint: run it again with PANNIKIN_DEBUG=1 for the traceback, and report it", file=sys.stderr)
    return 1


def _usage(error: click.ClickException) -> int:
    """A wrong command line, said in one line as everything else is."""
    import click

    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # the help itself, asked for by calling without a verb
        print(message, file=sys.stderr)
        return error.exit_code
    print(f"pannikin: {message[:1].lower()}{message[1:].rstrip('.')}", file=sys.stderr)
    context = getattr(error, "ctx", None)
    if context is not None:
        print(f"  hint: `{context.command_path} --help` shows how it is called", file=sys.stderr)
    return error.exit_code
