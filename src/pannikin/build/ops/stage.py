"""Another stage's (or image's) file system as a source to copy from: read through its snapshots, without a mount."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from typing import BinaryIO

from pannikin.build.ops.context import File
from pannikin.errors import NotFound
from pannikin.oci import patterns
from pannikin.runtime.view import View


class StageSource:
    """Files of a view, in the form that Copy takes them. Links never lead out of the view's root."""

    def __init__(self, view: View) -> None:
        self._view = view

    def expand(self, pattern: str) -> list[tuple[str, str]]:
        """The paths that one source names, links followed, and their last names before. Raises `NotFound`."""
        pattern = pattern.strip("/")
        if not patterns.is_pattern(pattern):
            return [self._followed(pattern)]
        found = [""]
        for part in pattern.split("/"):
            found = [posixpath.join(base, name) for base in found for name in self._names(base, part)]
        if not found:
            raise NotFound(f"no file matches {'/' + pattern!r} in the stage or image that is copied from")
        return [self._followed(path) for path in sorted(found)]

    def _followed(self, name: str) -> tuple[str, str]:
        path = self._view.resolve(name)
        if path and not self._view.exists(path):
            raise NotFound(f"{'/' + name!r} is not in the stage or image that is copied from", hint=self._near(path))
        return path, posixpath.basename(name)

    def below(self, path: str) -> Iterator[File]:
        """A file, or a directory (first) and all that is in it."""
        status = self._view.lstat(path)
        yield self._file(path, status)
        if stat.S_ISDIR(status.st_mode):
            for child, below in self._view.walk(path):
                if not stat.S_ISSOCK(below.st_mode):
                    yield self._file(child, below)

    def open(self, file: File) -> BinaryIO:
        return self._view.open(file.path)  # the walk said that it is a regular file

    def contents(self, file: File) -> BinaryIO | bytes:
        """As `open`."""
        return self.open(file)

    def _names(self, base: str, part: str) -> list[str]:
        if base and not stat.S_ISDIR(self._view.lstat(base).st_mode):
            return []
        return [name for name in self._view.listdir(base) if patterns.match(part, name)]

    def _file(self, path: str, status: os.stat_result) -> File:
        link = self._view.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
        device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if status.st_rdev else (0, 0)
        shared = (status.st_dev, status.st_ino) if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) else None
        return File(
            path, status.st_mode, status.st_size, link, uid=status.st_uid, gid=status.st_gid,
            mtime=int(status.st_mtime), device=device, inode=shared, xattrs=self._view.xattrs(path),
        )  # fmt: skip

    def _near(self, path: str) -> str:
        import difflib

        parent = posixpath.dirname(path)
        try:
            names = list(self._view.listdir(parent))
        except (NotFound, OSError):
            return f"it has no directory {'/' + parent!r}"
        near = difflib.get_close_matches(posixpath.basename(path), names, 1, 0.6)
        return f"did you mean {'/' + posixpath.join(parent, near[0])!r}?" if near else ""
