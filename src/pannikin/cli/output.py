"""`--output`: where a build's result goes, besides the store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pannikin.errors import UsageError
from pannikin.oci.image import Image
from pannikin.toolchain import Built, Toolchain

TYPES = ("image", "oci", "docker", "dir", "tar")


@dataclass(frozen=True)
class Output:
    """One destination. `dest` None is stdout."""

    type: str
    dest: Path | None = None
    name: str | None = None


def parse(text: str) -> Output:
    """Read `type=oci,dest=app.tar`, a bare directory, or `-`. Raises `UsageError`."""
    if text == "-":
        return Output("tar")
    if "=" not in text:
        return Output("dir", Path(text))
    fields = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or key.strip() not in ("type", "dest", "name"):
            raise UsageError(f"--output {text!r}: {part!r} is not understood", hint="type=, dest= and name= are")
        fields[key.strip()] = value
    kind = {"local": "dir"}.get(fields.get("type", ""), fields.get("type", ""))
    if kind not in TYPES:
        raise UsageError(f"--output {text!r}: no such type {kind!r}", hint=f"one of {', '.join(TYPES)}")
    dest = fields.get("dest")
    if kind == "dir" and not dest:
        raise UsageError(f"--output {text!r} needs dest=DIRECTORY")
    return Output(kind, Path(dest) if dest and dest != "-" else None, fields.get("name"))


def write(output: Output, built: Built, tools: Toolchain) -> None:
    """Write an image to its destination."""
    image = built.image
    names = [output.name] if output.name else list(built.tags)
    if output.type == "image":
        if output.name:
            from pannikin.oci.reference import Reference

            tools.store.tag(str(Reference.parse(output.name)), image.descriptor)
        return
    if output.type == "dir":
        from pannikin.runtime.export import export_directory

        assert output.dest is not None
        export_directory(tools.snapshots.view(image.layers), output.dest)
        return
    with destination(output.dest) as stream:
        if output.type == "tar":
            from pannikin.runtime.export import export_tar

            export_tar(tools.snapshots.view(image.layers), stream)
        else:
            save(output.type, [(name, image) for name in names] or [(None, image)], stream)


def save(kind: str, images: list[tuple[str | None, Image]], stream: BinaryIO) -> None:
    """Write images as an OCI layout in a tar, or as a docker archive."""
    from pannikin.store.archive import LayoutTar, save_docker

    if kind == "docker":
        save_docker(images, stream)
        return
    from pannikin.oci.transfer import copy

    sink = LayoutTar(stream)
    for name, image in images:
        copy(image, sink)
        sink.tag(name, image.descriptor)
    sink.close()


@contextmanager
def destination(path: Path | None) -> Iterator[BinaryIO]:
    """A file that appears when it is whole, or stdout (which must not be a terminal)."""
    if path is None:
        if sys.stdout.isatty():
            raise UsageError("an archive is not written to a terminal", hint="redirect it, or name a file")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    import os

    if path.exists() and not path.is_file():  # /dev/null, a pipe
        with open(path, "wb") as stream:
            yield stream
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as stream:
            yield stream
        partial.replace(path)
    except FileNotFoundError:
        raise UsageError(f"can't write {path}", why=f"there is no directory {path.parent}") from None
    finally:
        partial.unlink(missing_ok=True)
