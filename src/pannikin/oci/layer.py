"""Layers: a deterministic streaming tar writer, a safe reader, whiteouts (image-spec layer.md). Being written."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import Literal

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"

Kind = Literal["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]
_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


@dataclass(slots=True)
class Entry:
    """One member of a layer.

    `path` is relative with `/` between its parts and none at its ends ("" is the root directory itself), bytes
    that are not UTF-8 as surrogates; `mode` the permission bits (07777); `mtime` whole seconds; `size` bytes;
    `link` a symlink's target as written, or the path (form as `path`) that a hard link shares its content with.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
