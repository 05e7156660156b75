"""A layer in the making: what lands where over a base, parents and links of the base respected."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable
from typing import BinaryIO

from pannikin.errors import NotFound, UsageError
from pannikin.oci.image import Layer
from pannikin.oci.layer import Entry, LayerWriter, kind_of
from pannikin.runtime.view import View
from pannikin.store import Store

Opener = Callable[[], BinaryIO | bytes]


class LayerPlan:
    """Entries by the path where they really land: a directory of the base that is a link leads to its target.

    Missing parents are made (mode 0755, of `owner`); parents that the base has are written with the base's own
    mode and owner, so that the layer can be unpacked by itself.
    """

    def __init__(self, view: View, epoch: int, owner: tuple[int, int] = (0, 0)) -> None:
        self._view = view
        self._epoch = epoch
        self._owner = owner
        self._items: dict[str, tuple[Entry, Opener | None]] = {}
        self._landed: dict[str, str] = {"": ""}
        self._absent: set[str] = set()
        self._changes = 0

    def add(self, entry: Entry, content: Opener | None) -> None:
        """Put an entry; one at the same path replaces it. Raises `UsageError` where file and directory collide."""
        entry.path = self._land(entry.path, final_link=entry.kind == "dir")
        if entry.kind == "hardlink":
            entry.link = self._land(entry.link, final_link=False)
        there = self._kind(entry.path)
        if there is not None and (there == "dir") != (entry.kind == "dir"):
            mine = "a directory" if entry.kind == "dir" else "a file"
            raise UsageError(f"can't put {mine} over {'a directory' if there == 'dir' else 'a file'}: /{entry.path}")
        self._parents(entry.path)
        self._items[entry.path] = (entry, content)
        self._changes += 1

    def require(self, path: str) -> None:
        """See to it that a directory stands in the layer, as the base has it."""
        self._parents(f"{self._land(path.strip('/'))}/x".lstrip("/"))

    def is_directory(self, path: str) -> bool:
        """Whether a path is a directory, links followed, in the base or in this plan."""
        return self._kind(self._land(path.strip("/"))) == "dir"

    def commit(self, store: Store) -> Layer | None:
        """Write the layer into the store; None where nothing would change."""
        if not self._changes:
            return None
        with store.upload() as upload:
            writer = LayerWriter(upload)
            for path in sorted(self._items):
                entry, opener = self._items[path]
                content = opener() if opener is not None else None
                if content is None or isinstance(content, bytes):
                    writer.add(entry, content)
                else:
                    with content:
                        writer.add(entry, content)
            layer = writer.finish()
            upload.commit(layer.descriptor.digest)
        return layer

    def _kind(self, path: str) -> str | None:
        if path in self._items:
            return self._items[path][0].kind
        if not path:
            return "dir"
        if posixpath.dirname(path) in self._absent:
            return None
        try:
            return kind_of(self._view.lstat(path).st_mode)
        except NotFound:
            return None

    def _land(self, path: str, *, final_link: bool = True) -> str:
        """Where a path leads: links among its directories followed, and with `final_link` its last part too."""
        parent, _, name = path.rpartition("/")
        if path in self._landed and final_link:
            return self._landed[path]
        base = self._land(parent) if parent else ""
        here = f"{base}/{name}" if base else name
        if not final_link or base in self._absent:
            if final_link:
                self._landed[path] = here
                if self._kind(here) is None:
                    self._absent.add(here)
            return here
        here = self._follow(here)
        self._landed[path] = here
        return here

    def _follow(self, path: str) -> str:
        for _ in range(40):
            kind = self._kind(path)
            if kind is None:
                self._absent.add(path)
            if kind != "symlink":
                return path
            target = self._items[path][0].link if path in self._items else self._view.readlink(path)
            joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
            path = self._land(joined, final_link=False) if joined else ""
        raise UsageError(f"too many symbolic links on the way to /{path}")

    def _parents(self, path: str) -> None:
        parent = posixpath.dirname(path)
        while parent and parent not in self._items:
            self._items[parent] = (self._directory(parent), None)
            parent = posixpath.dirname(parent)

    def _directory(self, path: str) -> Entry:
        kind = self._kind(path)
        if kind is None:
            self._changes += 1
            return Entry(path, "dir", 0o755, *self._owner, self._epoch)
        if kind != "dir":
            raise UsageError(f"/{path} is not a directory")
        status = self._view.lstat(path)
        mode, mtime = stat.S_IMODE(status.st_mode), min(int(status.st_mtime), self._epoch)
        return Entry(path, "dir", mode, status.st_uid, status.st_gid, mtime, xattrs=self._view.xattrs(path))
