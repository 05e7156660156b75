"""`pannikin validate`."""

from __future__ import annotations

from pathlib import Path

import click

from pannikin.cli import options
from pannikin.toolchain import Toolchain


@click.command()
@click.argument("names", nargs=-1, required=True)
@options.as_json
@click.pass_obj
def validate(root: Path | None, names: tuple[str, ...], as_json: bool) -> None:
    """Check images down to the last byte: digests, sizes, diff IDs, paths, history. Exits with 1 on a problem.

    \b
    pannikin validate app
    """
    from pannikin.cli import screen
    from pannikin.oci.validate import problems

    store = Toolchain(root).store
    found = {name: problems(store.find(name)) for name in names}
    if as_json:
        screen.dump(found)
    else:
        for name, lines in found.items():
            click.echo("\n".join(f"{name}: {line}" for line in lines) or f"{name}: valid")
    if any(found.values()):
        raise SystemExit(1)
