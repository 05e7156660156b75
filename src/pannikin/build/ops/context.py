"""Build contexts: a walk under the ignore file, content digests through a stat cache, no copy of anything.

A context's key covers names, kinds, permission bits, contents and link targets; not owners, and not times.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from pannikin import graph
from pannikin.errors import Corrupt, NotFound, PannikinError, Unsafe
from pannikin.oci import patterns
from pannikin.store.files import write_atomic

_SMALL = 64 << 10
"""Bytes: a file up to this size is read in one go."""
_KEPT = 64 << 20
"""Bytes: so much of small files' contents, read for their digests, is kept for the layer that follows at once."""
_SETTLED = 1.0
"""Seconds: a file changed this shortly before it was read may change again without a new time (as git has it)."""


class File(msgspec.Struct):
    """One file, directory or link to copy. `mode` is `st_mode`; `digest` hex, for files, when asked for.

    `inode` is set where several names share one file, so that they go on sharing it.
    """

    path: str
    mode: int
    size: int = 0
    link: str = ""
    digest: str = ""
    stamp: tuple[int, int, int, int] = (0, 0, 0, 0)
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    device: tuple[int, int] = (0, 0)
    inode: tuple[int, int] | None = None
    xattrs: dict[str, bytes] = {}


@dataclass
class Tree:
    """What was selected of a context: files by path, parents before children."""

    root: Path
    files: dict[str, File]
    named: dict[str, list[tuple[str, str]]]
    content: str
    kept: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Contents by digest, read a moment ago: most of a first build's small files need not be opened twice."""

    def expand(self, pattern: str) -> list[tuple[str, str]]:
        """The paths that one of the node's sources names, links followed, each with the name that it was called by."""
        return [("", "")] if pattern in ("", ".") else self.named[pattern]

    def below(self, path: str) -> Iterator[File]:
        """A file, or a directory (first) and all that is in it."""
        prefix = f"{path}/" if path else ""
        if not path:
            yield File("", stat.S_IFDIR | 0o755)  # the root's own mode says how the directory was made, no more
        for name, file in self.files.items():
            if name == path or name.startswith(prefix):
                yield file

    def open(self, file: File) -> BinaryIO:
        """A file's bytes. Raises `Corrupt` where it is not the one that was hashed any more."""
        fd = self._same(file)
        return open(fd, "rb")

    def contents(self, file: File) -> BinaryIO | bytes:
        """As `open`; a small file's bytes themselves."""
        if (kept := self.kept.pop(file.digest, None)) is not None and len(kept) == file.size:
            return kept
        if file.size > _SMALL:
            return self.open(file)
        fd = self._same(file)
        try:
            return os.read(fd, file.size)
        finally:
            os.close(fd)

    def _same(self, file: File) -> int:
        fd = _open_below(self.root, file.path)
        if _stamp(os.fstat(fd)) != file.stamp:
            os.close(fd)
            raise Corrupt(f"{file.path!r} changed during the build", hint="run the command again")
        return fd


class ContextOp:
    """Solves `Context` nodes; one object serves one build, so that a directory is walked once."""

    keeps = False

    def __init__(self, roots: Mapping[str, Path], stamps: Path, temporary: Path) -> None:
        """`roots` binds context names to directories; `stamps` is a directory for the stat cache."""
        self._roots = roots
        self._stamps = stamps
        self._temporary = temporary
        self._walks: dict[tuple[str, tuple[str, ...]], dict[str, File]] = {}
        self._trees: dict[graph.Node, Tree] = {}
        self._kept: dict[str, bytes] = {}
        self._room = _KEPT

    def key(self, node: graph.Context) -> str:
        return self._tree(node).content

    def content(self, node: graph.Context, position: int, result: object) -> str:
        raise AssertionError("a context has no inputs")

    def run(self, node: graph.Context, inputs: Sequence[object]) -> Tree:
        return self._tree(node)

    def _tree(self, node: graph.Context) -> Tree:
        if node not in self._trees:
            root = self._root(node)
            walk = (node.name, node.ignore)
            if walk not in self._walks:
                self._walks[walk] = _walk(root, node.ignore)
            files = self._walks[walk]
            try:
                named = {pattern: expand(files, pattern, root) for pattern in node.select or ("",)}
            except PannikinError as error:
                error.where = error.where or node.where
                raise
            chosen = select(files, [path for paths in named.values() for path, _ in paths])
            self._digests(root, chosen)
            self._trees[node] = Tree(root, chosen, named, _content(chosen, named), self._kept)
        return self._trees[node]

    def _root(self, node: graph.Context) -> Path:
        try:
            root = self._roots[node.name]
        except KeyError:
            raise NotFound(f"no build context named {node.name!r}", where=node.where) from None
        if not root.is_dir():
            raise NotFound(f"the build context {root} is not a directory", hint="give the directory as last argument")
        return root

    def _digests(self, root: Path, files: dict[str, File]) -> None:
        """Fill in the content digests, reading only files whose size, times or inode changed since the last time."""
        where = self._stamps / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
        known = _load(where)
        limit = time.time_ns() - int(_SETTLED * 1e9)
        fresh = False
        for path, file in files.items():
            if file.digest or not stat.S_ISREG(file.mode):
                continue
            cached = known.get(path)
            if cached is not None and cached[0] == file.stamp:
                file.digest = cached[1]
                continue
            self._hash(root, file)
            if max(file.stamp[1], file.stamp[2]) < limit:
                known[path] = (file.stamp, file.digest)
                fresh = True
        if fresh:
            where.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(where, msgspec.msgpack.encode(known), self._temporary)

    def _hash(self, root: Path, file: File) -> None:
        """Read a file for its digest."""
        fd = _open_below(root, file.path)
        if file.size > _SMALL:
            with open(fd, "rb", buffering=0) as stream:
                file.digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return
        try:
            # One byte more than the walk saw tells a file that grows: its digest is then of another content.
            data = os.read(fd, file.size + 1)
        finally:
            os.close(fd)
        file.digest = hashlib.sha256(data).hexdigest()
        if len(data) <= self._room and len(data) == file.size:
            self._room -= len(data)
            self._kept[file.digest] = data


_Stamps = dict[str, tuple[tuple[int, int, int, int], str]]


def _load(where: Path) -> _Stamps:
    try:
        return msgspec.msgpack.decode(where.read_bytes(), type=_Stamps)
    except (OSError, msgspec.MsgspecError):
        return {}


def _walk(root: Path, ignore: tuple[str, ...]) -> dict[str, File]:
    """All that the ignore lines leave, sorted so that a directory stands before what is in it."""
    matcher = patterns.Matcher(ignore)
    found: dict[str, File] = {}
    pending: list[tuple[str, int]] = [("", patterns.NOTHING)]
    while pending:
        directory, state = pending.pop()
        prefix = f"{directory}/" if directory else ""
        try:
            entries = list(os.scandir(os.path.join(root, directory)))
        except PermissionError:
            raise Unsafe(f"can't read the directory {prefix or '.'} of the build context") from None
        except FileNotFoundError:
            continue
        for entry in entries:
            path = prefix + entry.name
            mine, left_out, wanted = patterns.NOTHING, False, True
            if ignore:
                mine = matcher.visit(path, state)
                left_out = matcher.excludes(mine)
                wanted = not left_out or matcher.may_reinclude_below(path, mine)
            if wanted and entry.is_dir(follow_symlinks=False):
                pending.append((path, mine))
            if not left_out and (file := _file(path, entry)) is not None:
                found[path] = file
    _add_parents(root, found)
    return dict(sorted(found.items()))


def _file(path: str, entry: os.DirEntry[str]) -> File | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return File(path, status.st_mode, link=os.readlink(entry.path))
    if stat.S_ISREG(status.st_mode):
        return File(path, status.st_mode, status.st_size, stamp=_stamp(status))
    return File(path, status.st_mode) if stat.S_ISDIR(status.st_mode) else None


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _add_parents(root: Path, found: dict[str, File]) -> None:
    """A file taken back in by `!` brings its ignored directories with it."""
    for path in list(found):
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = File(parent, os.lstat(os.path.join(root, parent)).st_mode)
            parent = parent.rpartition("/")[0]


def select(files: Mapping[str, File], paths: Sequence[str]) -> dict[str, File]:
    """The files at these paths, with all below them."""
    if "" in paths:
        return dict(files)
    roots = set(paths)
    chosen: dict[str, File] = {}
    for path, file in files.items():
        # `files` is sorted with parents first, so a chosen directory is known before its children.
        if path in roots or path.rpartition("/")[0] in chosen:
            chosen[path] = file
    return chosen


def expand(files: Mapping[str, File], pattern: str, root: Path | None = None) -> list[tuple[str, str]]:
    """What one source names, the wildcard's matches or the path itself: paths, links followed, and last names before.

    A link's file is copied under the link's name, as docker does: `COPY libz.so.1 /lib/` makes /lib/libz.so.1.
    """
    pattern = pattern.rstrip("/")
    if pattern in ("", "."):
        return [("", "")]
    if patterns.is_pattern(pattern):
        depth = pattern.count("/")
        found = [path for path in files if path.count("/") == depth and patterns.match(pattern, path)]
        if not found:
            raise NotFound(f"no file matches {pattern!r} in the build context", hint=_outside(pattern, root))
    else:
        found = [pattern]
    return [(resolve(files, path, root), path.rpartition("/")[2]) for path in found]


def resolve(files: Mapping[str, File], path: str, root: Path | None = None) -> str:
    """Follow symbolic links inside the context. Raises `Unsafe` where one leaves it, `NotFound` where one is broken."""
    done: list[str] = []
    left = path.split("/")
    for _ in range(256):
        if not left:
            return "/".join(done)
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                raise Unsafe(f"{path!r} leaves the build context through a symbolic link")
            done.pop()
            continue
        at = "/".join([*done, part])
        file = files.get(at)
        if file is None:
            raise NotFound(f"{path!r} is not in the build context", hint=_outside(path, root))
        if stat.S_ISLNK(file.mode):
            if file.link.startswith("/"):
                raise Unsafe(
                    f"{path!r} leaves the build context through a symbolic link",
                    why=f"{at} points to {file.link}",
                    hint="copy the file itself into the context",
                )
            left = [*file.link.split("/"), *left]
        else:
            done.append(part)
    raise Unsafe(f"{path!r} goes through a loop of symbolic links")


def _outside(path: str, root: Path | None) -> str:
    if root is not None and os.path.lexists(full := os.path.join(root, path)):
        if stat.S_IFMT(os.lstat(full).st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            return "the file exists, but .dockerignore leaves it out"
        return "it is a pipe, a socket or a device: only files, directories and links are copied"
    if root is not None:
        import difflib

        parent = os.path.dirname(path)
        try:
            names = os.listdir(os.path.join(root, parent))
        except OSError:
            return f"the build context has no directory {parent!r}"
        near = difflib.get_close_matches(os.path.basename(path), names, 1, 0.6)
        if near:
            return f"did you mean {os.path.join(parent, near[0])!r}?"
    return "paths are relative to the build context"


def _content(files: Mapping[str, File], named: Mapping[str, list[tuple[str, str]]]) -> str:
    lines = [
        f"{pattern}\0{path}\0{name}" for pattern, paths in named.items() for path, name in paths if path != pattern
    ]
    for path, file in files.items():
        kind = stat.S_IFMT(file.mode)
        mode = 0 if stat.S_ISLNK(file.mode) else stat.S_IMODE(file.mode)
        lines.append(f"{path}\0{kind:o}\0{mode:o}\0{file.digest or file.link}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _open_below(root: Path, path: str) -> int:
    """Open a file that was a regular one during the walk; not a link that was put in its place. Raises `Unsafe`."""
    full = os.path.join(root, path)
    try:
        fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise Unsafe(f"can't read {path!r} of the build context", why="permission denied") from None
    except FileNotFoundError:
        raise NotFound(f"{path!r} vanished from the build context while it was read") from None
    except OSError as error:
        raise Unsafe(f"can't read {path!r} of the build context", why=os.strerror(error.errno or 0)) from None
    return fd
