"""An image's file system as plain files or as one tar, read through its snapshots."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pannikin.errors import UsageError
from pannikin.oci.layer import Entry, LayerWriter
from pannikin.runtime.unpack import Unpacker
from pannikin.runtime.view import View


def export_tar(view: View, out: BinaryIO) -> None:
    """Write the merged file system as a plain, deterministic tar."""
    writer = LayerWriter(out, "none")
    pour(view, writer.add)
    writer.finish()


def export_directory(view: View, target: Path) -> None:
    """Write the merged file system into a directory, over what is there. Raises `UsageError` where it is a file."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a directory", hint="name a directory for dest=")
    target.mkdir(parents=True, exist_ok=True)
    copier = Unpacker(target, ())
    pour(view, copier.add)
    copier.finish()


def pour(view: View, add: Callable[[Entry, BinaryIO | None], object]) -> None:
    """Give every file of the merged view, with its content, to `add`."""
    for entry in _entries(view):
        if entry.kind == "file":
            with open(view.location(entry.path), "rb") as content:
                add(entry, content)
        else:
            add(entry, None)


def _entries(view: View) -> Iterator[Entry]:
    """Every file, parents first; further names of one file as hard links."""
    names: dict[tuple[int, int], str] = {}
    for path, status in view.walk():
        entry = view.entry(path)
        if entry is None:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            first = names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                entry.kind, entry.link, entry.size = "hardlink", first, 0
        yield entry
