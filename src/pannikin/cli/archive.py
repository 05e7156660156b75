"""`pannikin save` and `load`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pannikin.cli import options
from pannikin.oci.image import Image
from pannikin.toolchain import Toolchain


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path), help="File (or directory, for oci-dir) [stdout]."
)
@click.option("--format", "kind", type=click.Choice(["docker", "oci", "oci-dir"]), default="docker", show_default=True,
              help="docker-archive, OCI layout in a tar, or OCI layout in a directory.")  # fmt: skip
@options.progress
@click.pass_obj
def save(root: Path | None, names: tuple[str, ...], path: Path | None, kind: str, progress: str) -> None:
    """Write images to an archive that docker, skopeo, podman and others load.

    \b
    pannikin save app -o app.tar
    pannikin save --format oci-dir -o layout app other
    """
    from pannikin.cli import output, screen
    from pannikin.errors import UsageError
    from pannikin.oci.platform import Platform
    from pannikin.oci.reference import Reference

    store = Toolchain(root).store
    platform = Platform.host() if kind == "docker" else None
    with screen.showing(progress), store.lease():
        found: list[tuple[str | None, Image]] = []
        known = store.tags()
        for text in names:
            image = store.find(text, platform)
            name = str(Reference.parse(text)) if not text.startswith("sha256:") else None
            found.append((name if name in known else None, image))
        if kind == "oci-dir":
            if path is None:
                raise UsageError("--format oci-dir needs -o DIRECTORY")
            from pannikin.oci.transfer import copy
            from pannikin.store.archive import LayoutDirectory

            sink = LayoutDirectory(path)
            for name, image in found:
                copy(image, sink, name or image.digest)
            return
        with output.destination(path) as stream:
            output.save(kind, found, stream)


@click.command()
@click.option(
    "-i", "--input", "path", type=click.Path(path_type=Path, exists=True), help="Archive or layout directory [stdin]."
)
@click.option("-t", "--tag", "names", multiple=True, metavar="NAME", help="Name the image (where the input has one).")
@options.progress
@options.as_json
@click.pass_obj
def load(root: Path | None, path: Path | None, names: tuple[str, ...], progress: str, as_json: bool) -> None:
    """Bring in images from a docker archive, an OCI archive or an OCI layout directory.

    \b
    pannikin load -i app.tar
    skopeo copy docker://registry/app oci-archive:/dev/stdout:app | pannikin load
    """
    from pannikin.cli import screen
    from pannikin.errors import UsageError
    from pannikin.oci.reference import Reference
    from pannikin.store import archive

    store = Toolchain(root).store
    with screen.showing(progress), store.lease():
        found = archive.load(path if path else sys.stdin.buffer, store)
        if names:
            if len({image.digest for _, image in found}) != 1:
                raise UsageError(f"--tag needs an input with one image; this one has {len(found)}")
            for text in names:
                store.tag(str(Reference.parse(text)), found[0][1].descriptor)
                found.append((str(Reference.parse(text)), found[0][1]))
    if as_json:
        screen.dump([{"name": name, "digest": image.digest} for name, image in found])
        return
    for name, image in found:
        click.echo(f"loaded {Reference.parse(name).familiar if name else image.digest}")
