"""`pannikin prune`."""

from __future__ import annotations

from pathlib import Path

import click

from pannikin.cli import options
from pannikin.toolchain import Toolchain


@click.command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="The build cache, unpacked layers and downloaded packages too."
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@options.as_json
@click.pass_obj
def prune(root: Path | None, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what nothing refers to: no name, no cached step, and no command that runs now.

    \b
    pannikin prune
    pannikin prune --all
    """
    from pannikin.cli import screen
    from pannikin.toolchain import prune as collect

    freed = collect(Toolchain(root), everything=everything, dry_run=dry_run)
    if as_json:
        screen.dump(freed)
        return
    verb = "would remove" if dry_run else "removed"
    click.echo(
        f"{verb} {freed['blobs']} blobs ({screen.size(freed['bytes'])} compressed), "
        f"{freed['cached_steps']} cached steps, {freed['snapshots']} unpacked layers, {freed['leftovers']} leftovers"
    )
