"""The size of an image, counted from the image itself: an OCI layout read with the standard library alone."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Size:
    """Bytes on disk once unpacked (the files of all layers), bytes to pull, files that a container sees, layers."""

    unpacked: int
    compressed: int
    files: int
    layers: int


def digest(store: Path, name: str) -> str:
    """The manifest's digest that a name like `app:1` has in the store. Raises `KeyError`."""
    full = f"docker.io/library/{name if ':' in name else name + ':latest'}"
    for entry in json.loads((store / "index.json").read_bytes())["manifests"]:
        if entry["annotations"].get("org.opencontainers.image.ref.name") == full:
            return str(entry["digest"])
    raise KeyError(name)


def size(store: Path, image: str) -> Size:
    """Count an image by its manifest's digest."""
    layers = json.loads(_blob(store, image).read_bytes())["layers"]
    unpacked, seen = 0, set[str]()
    for layer in layers:
        size, entries = _layer(_blob(store, layer["digest"]))
        unpacked += size
        _overlay(seen, entries)
    return Size(unpacked, sum(layer["size"] for layer in layers), len(seen), len(layers))


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs" / digest.replace(":", "/")


@cache
def _layer(blob: Path) -> tuple[int, tuple[str, ...]]:
    """Bytes of the regular files of a layer (a hard link adds none), and the names of all but directories."""
    total, names = 0, []
    with tarfile.open(blob, "r|*") as tar:
        for member in tar:
            if member.isreg():
                total += member.size
            if not member.isdir():
                names.append(member.name.removeprefix("./"))
    return total, tuple(names)


def _overlay(seen: set[str], entries: tuple[str, ...]) -> None:
    """Lay a layer over what is below: whiteouts take away first, whatever their order, then files come."""
    gone = []
    for name in entries:
        path = PurePosixPath(name)
        if path.name == ".wh..wh..opq":
            gone.append(str(path.parent) + "/")
        elif path.name.startswith(".wh."):
            gone.append(str(path.with_name(path.name.removeprefix(".wh."))))
    if gone:
        exact, below = set(gone), tuple(one.rstrip("/") + "/" for one in gone)
        seen -= {name for name in seen if name in exact or name.startswith(below)}
    seen.update(name for name in entries if not PurePosixPath(name).name.startswith(".wh."))
