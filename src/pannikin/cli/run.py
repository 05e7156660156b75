"""`pannikin run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pannikin.cli import options
from pannikin.cli.screen import show_error
from pannikin.errors import CommandFailed, UsageError
from pannikin.toolchain import RunRequest, Toolchain


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-e", "--env", "env", multiple=True, metavar="KEY[=VALUE]", help="Set a variable.")
@click.option(
    "-v", "--volume", "volumes", multiple=True, metavar="HOST:CONTAINER[:ro]", help="Bind a file or directory."
)
@click.option("-w", "--workdir", metavar="DIR", help="Working directory.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User.")
@click.option("--entrypoint", metavar="PROGRAM", help="Instead of the image's entrypoint.")
@click.option("--network", type=click.Choice(["host", "none"]), default="host", show_default=True, help="Network.")
@click.option("--rm", is_flag=True, help="Accepted for docker's sake: nothing of a container is ever kept.")
@click.option("-i", "--interactive", is_flag=True, help="Keep stdin open.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("--read-only", is_flag=True, help="Its file system can't be written.")
@click.option("--security-opt", multiple=True, type=click.Choice(["no-new-privileges"]), help="Harden it.")
@click.option("--hostname", metavar="NAME", help="Its host name.")
@click.option("--cpus", type=click.FloatRange(min=0.01), help="Limit it to so many cores.")
@click.option("-m", "--memory", metavar="BYTES", help="Limit its memory: 512m, 2g.")
@click.pass_obj
def run(root: Path | None, /, **given: Any) -> None:
    """Run a command in a new container of an image; its exit code becomes ours.

    What the container writes is gone when it ends. It uses the host's network, so a port that it listens on
    is reached as it is.

    \b
    pannikin run --rm app
    pannikin run -it --rm debian:slim bash
    pannikin run -e PORT=8080 -v "$PWD/data:/data:ro" app
    """
    if given["tty"] and not sys.stdin.isatty():
        raise UsageError("--tty: stdin is not a terminal", hint="leave -t out; -i alone keeps stdin open")
    try:
        status = Toolchain(root).run(_request(given))
    except CommandFailed as error:  # 126, 127 and 137 as a shell gives them, for scripts that look
        show_error(error)
        status = error.status
    if status:
        raise SystemExit(status)


def _request(given: dict[str, Any]) -> RunRequest:
    return RunRequest(
        image=given["image"],
        args=given["args"],
        env=options.pairs(given["env"], "--env", from_environment=True),
        volumes=tuple(_volume(text) for text in given["volumes"]),
        workdir=given["workdir"],
        user=given["user"],
        entrypoint=given["entrypoint"],
        network=given["network"],
        interactive=given["interactive"],
        terminal=given["tty"],
        read_only=given["read_only"],
        no_new_privileges="no-new-privileges" in given["security_opt"],
        hostname=given["hostname"],
        cpus=given["cpus"],
        memory=options.quantity(given["memory"]) if given["memory"] else None,
    )


def _volume(text: str) -> tuple[Path, str, bool]:
    """Host path, container path, writable."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[1].startswith("/") or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise UsageError(f"--volume {text!r} is not HOST:CONTAINER[:ro]", hint="the container's path is absolute")
    host = Path(parts[0]).absolute()
    if not host.exists():
        raise UsageError(f"--volume {text!r}: {host} is not there")
    return host, parts[1], parts[2:] != ["ro"]
