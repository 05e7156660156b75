"""Garbage collection and checking: what may go, and whether everything is what it says."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pannikin.errors import Corrupt, NotFound, PannikinError
from pannikin.oci import digest as digests
from pannikin.oci.digest import Digest
from pannikin.oci.image import Image
from pannikin.oci.model import INDEXES, MANIFESTS, Descriptor
from pannikin.store.files import DOCUMENT, is_held, locked
from pannikin.store.layout import Store

_NEVER = 1 << 63


@dataclass
class Freed:
    """What a collection removed."""

    blobs: int = 0
    bytes: int = 0
    leftovers: int = 0
    digests: list[Digest] = field(default_factory=list)


def prune(store: Store, roots: Callable[[], Iterator[Descriptor]] | None = None, *, dry_run: bool = False) -> Freed:
    """Remove every blob that no tag, no root and no living lease needs, and what dead processes left behind.

    `roots` gives further descriptors to keep (the build cache's); it is called while nothing can be added.
    """
    freed = Freed()
    with locked(store.collecting):
        oldest = _oldest_lease(store)
        keep: set[str] = set()
        for descriptor in store.tags().values():
            _mark(store, descriptor, keep)
        for descriptor in roots() if roots else ():
            _mark(store, descriptor, keep)
        for path, digest in _blobs(store):
            status = path.stat()
            if digest in keep or status.st_mtime_ns >= oldest:
                continue
            freed.blobs, freed.bytes = freed.blobs + 1, freed.bytes + status.st_size
            freed.digests.append(digest)
            if not dry_run:
                path.unlink()
        if not dry_run:
            freed.leftovers = _sweep(store)
    return freed


def drop(store: Store, directory: Path) -> bool:
    """Remove a directory of things that can be had again, unless a living lease may need them. Returns whether."""
    with locked(store.collecting):
        if _oldest_lease(store) < _NEVER:
            return False
        shutil.rmtree(directory, ignore_errors=True)
    return True


def _oldest_lease(store: Store) -> int:
    """Nanoseconds since 1970: when the oldest living lease began. Those of dead processes are removed."""
    oldest = _NEVER
    for path in store.leases.iterdir():
        # A lease may end while we look.
        with suppress(FileNotFoundError), open(path, "rb") as stream:
            if is_held(stream.fileno()):
                # The blob's time comes from the kernel's coarse clock, which may lag behind ours.
                oldest = min(oldest, int(path.name.split("-")[0]) - 1_000_000_000)
            else:
                path.unlink(missing_ok=True)
    return oldest


def _sweep(store: Store) -> int:
    """Remove unfinished files and directories of processes that are gone."""
    count = 0
    for path in store.temporary.iterdir():
        with suppress(FileNotFoundError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif not _in_use(path):
                path.unlink()
            else:
                continue
            count += 1
    return count


def _in_use(path: Path) -> bool:
    """Whether a file of the temporary directory is somebody's: locked, or a document that was just begun."""
    if path.name.startswith(DOCUMENT):
        return time.time() - path.stat().st_mtime < 60
    with open(path, "rb") as stream:
        return is_held(stream.fileno())


def _mark(store: Store, descriptor: Descriptor, keep: set[str]) -> None:
    if descriptor.digest in keep:
        return
    keep.add(descriptor.digest)
    if descriptor.media_type not in MANIFESTS | INDEXES:
        return
    image = Image(descriptor, store)
    try:
        below = image.index.manifests if image.is_index else [*image.manifest.layers, image.manifest.config]
    except (NotFound, Corrupt):
        return  # a platform that was not pulled, or damage: `check` reports it, collecting must not
    for child in below:
        _mark(store, child, keep)


def _blobs(store: Store) -> Iterator[tuple[Path, Digest]]:
    for algorithm in sorted((store.root / "blobs").iterdir()):
        for path in sorted(algorithm.iterdir()):
            yield path, Digest(f"{algorithm.name}:{path.name}")


def check(store: Store, report: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Verify every byte: each blob against its name, each tagged image down to its layers. Returns the problems."""
    problems: list[str] = []
    total = sum(path.stat().st_size for path, _ in _blobs(store))
    done = 0
    for path, digest in _blobs(store):
        try:
            hashed = digests.hasher(digests.parse(digest))
            with open(path, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    hashed.update(chunk)
                    done += len(chunk)
                    report(done, total)
            digests.check(digest, hashed, f"blob {path.name}")
        except FileNotFoundError:
            continue  # collected meanwhile
        except PannikinError as error:
            problems.append(str(error))
    try:
        tags = store.tags()
    except Corrupt as error:
        return [*problems, str(error)]
    for name, descriptor in tags.items():
        problems += [f"{name}: {problem}" for problem in _missing(store, Image(descriptor, store))]
    return problems


def _missing(store: Store, image: Image, seen: set[str] | None = None) -> Iterator[str]:
    seen = set() if seen is None else seen
    seen.add(image.digest)
    try:
        if image.is_index:
            for child in image.children():
                if child.digest not in seen and store.path(child.digest).exists():
                    yield from _missing(store, child, seen)
            return
        for layer in image.layers:
            path = store.path(layer.descriptor.digest)
            if not path.exists():
                yield f"layer {layer.descriptor.digest} is missing"
            elif path.stat().st_size != layer.descriptor.size:
                yield f"layer {layer.descriptor.digest} has {path.stat().st_size} bytes, not {layer.descriptor.size}"
    except PannikinError as error:
        yield str(error)
