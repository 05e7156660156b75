"""`pannikin images`, `tag` and `rmi`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pannikin.cli import options
from pannikin.errors import PannikinError
from pannikin.oci.image import Image
from pannikin.oci.reference import Reference
from pannikin.toolchain import Toolchain


@click.command()
@click.argument("pattern", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Print digests alone.")
@click.option("--no-trunc", is_flag=True, help="Print whole digests.")
@options.as_json
@click.pass_obj
def images(root: Path | None, pattern: str | None, quiet: bool, no_trunc: bool, as_json: bool) -> None:
    """List images: name, digest, age, compressed size (what a pull moves) and layers.

    \b
    pannikin images
    pannikin images 'node*'
    """
    import fnmatch

    from pannikin.cli import screen

    store = Toolchain(root).store
    rows = [_row(name, Image(descriptor, store)) for name, descriptor in store.tags().items()]
    if pattern:
        rows = [row for row in rows if fnmatch.fnmatch(row["name"], pattern) or row["name"].startswith(f"{pattern}:")]
    if as_json:
        screen.dump(rows)
    elif quiet:
        for digest in dict.fromkeys(row["digest"] for row in rows):
            click.echo(digest)
    else:
        lines = [
            [row["name"], row["digest"] if no_trunc else row["digest"][7:19], row["platform"], _age(row["created"]),
             screen.size(row["compressed_size"]), str(row["layers"])]
            for row in rows
        ]  # fmt: skip
        screen.table(["NAME", "DIGEST", "PLATFORM", "CREATED", "COMPRESSED", "LAYERS"], lines, right=(4, 5))


def _row(name: str, image: Image) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": Reference.parse(name).familiar, "digest": image.digest, "created": "", "platform": "",
        "compressed_size": 0, "layers": 0,
    }  # fmt: skip
    try:
        if image.is_index:
            platforms = [str(d.platform.platform) for d in image.index.manifests if d.platform]
            return row | {"platform": ",".join(platforms)}
        config = image.config
        return row | {
            "created": config.created, "platform": str(config.platform), "compressed_size": image.compressed_size,
            "layers": len(image.manifest.layers),
        }  # fmt: skip
    except PannikinError as error:
        return row | {"platform": "damaged", "error": error.what}


def _age(created: str) -> str:
    try:
        then = datetime.fromisoformat(created.replace("Z", "+00:00"))
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = (datetime.now(UTC) - then).total_seconds()
    except (ValueError, OverflowError):
        return ""
    for unit, length in (
        ("year", 31_557_600),
        ("month", 2_629_800),
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3600),
    ):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s ago"
    return f"{max(0, seconds) // 60:.0f} minutes ago"


@click.command()
@click.argument("source")
@click.argument("target")
@click.pass_obj
def tag(root: Path | None, source: str, target: str) -> None:
    """Give an image another name.

    \b
    pannikin tag app app:1.2
    """
    store = Toolchain(root).store
    name = str(Reference.parse(target))
    with store.lease():
        store.tag(name, store.find(source).descriptor)


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not complain about names that are not there.")
@click.pass_obj
def rmi(root: Path | None, names: tuple[str, ...], force: bool) -> None:
    """Remove images' names. `pannikin prune` then frees what nothing refers to.

    \b
    pannikin rmi app:1.2
    """
    from pannikin.errors import NotFound

    store = Toolchain(root).store
    for text in names:
        try:
            image = store.find(text)
        except NotFound:
            if force:
                continue
            raise
        tags = {name: d for name, d in store.tags().items() if d.digest == image.digest}
        wanted = _exact(text, tags)
        for name in [wanted] if wanted else list(tags):
            store.untag(name)
            click.echo(f"untagged {Reference.parse(name).familiar}")


def _exact(text: str, tags: dict[str, Any]) -> str | None:
    """The name that was written, unless a digest was."""
    try:
        name = str(Reference.parse(text))
    except PannikinError:
        return None
    return name if name in tags else None
