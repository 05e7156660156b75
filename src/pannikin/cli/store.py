"""`pannikin store check` and `store path`."""

from __future__ import annotations

from pathlib import Path

import click

from pannikin.cli import options
from pannikin.toolchain import Toolchain


@click.group()
def store() -> None:
    """Look after the store itself."""


@store.command()
@options.progress
@options.as_json
@click.pass_obj
def check(root: Path | None, progress: str, as_json: bool) -> None:
    """Verify every byte of the store. Exits with 1 where something is damaged or missing.

    \b
    pannikin store check
    """
    from pannikin import progress as events
    from pannikin.cli import screen
    from pannikin.store import collect

    found = Toolchain(root).store
    with screen.showing(progress), events.step("check the store") as step:
        problems = collect.check(found, step.advance)
    if as_json:
        screen.dump({"root": str(found.root), "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{found.root}: " + (f"{len(problems)} problems" if problems else "all is well"))
    if problems:
        raise SystemExit(1)


@store.command("path")
@click.pass_obj
def path_(root: Path | None) -> None:
    """Print the store's directory: an OCI layout, e.g. for `skopeo copy oci:$(pannikin store path):NAME …`."""
    click.echo(Toolchain(root).store.root)
