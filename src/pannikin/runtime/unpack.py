"""One layer unpacked into a directory, in the form that overlayfs takes as a lower layer (image-spec layer.md)."""

from __future__ import annotations

import errno
import os
import queue
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from pannikin.errors import Corrupt, Unavailable
from pannikin.oci import digest as digests
from pannikin.oci import layer as layers
from pannikin.oci.compress import Decompressed
from pannikin.oci.image import Blobs, Layer
from pannikin.oci.layer import Entry
from pannikin.runtime import namespace, overlay, symlinks
from pannikin.runtime.bundle import in_user_namespace
from pannikin.runtime.view import View, read_xattrs

_CHUNK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOBODY = 2**32 - 1
"""-1 as an owner means "no change" to chown(2)."""
_DEVICES = {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}


def unpack(blobs: Blobs, layer: Layer, tree: Path, lowers: Sequence[Path]) -> Unpacker:
    """Unpack a layer into the empty directory `tree`, both of its digests checked.

    `lowers` are the trees below, top first. Raises `Corrupt`, `Unsafe`, and `Unavailable` where the disk is full.
    """
    unpacker = Unpacker(tree, lowers)
    try:
        with blobs.open(layer.descriptor) as stream, _Ahead(stream, layer) as plain:
            for entry, content in layers.read(plain, f"layer {digests.short(layer.descriptor.digest)}"):
                unpacker.add(entry, content)
            plain.verify()
        unpacker.finish()
    except OSError as error:
        raise _explained(error, tree) from error
    except Corrupt as error:
        error.hint = error.hint or "`pannikin store check` tells what is damaged: load or build that image again"
        raise
    return unpacker


def _explained(error: OSError, tree: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("no space left for unpacked layers", where=str(tree.parent), hint="free some, or `prune`")
    if error.errno == errno.EINVAL and in_user_namespace():
        why = "it has owners that are not mapped here"
        return Unavailable("a layer can't be unpacked", why=why, hint="give this user more numbers in /etc/subuid")
    return Unavailable("a layer can't be unpacked", why=f"{error.strerror}: {error.filename}")


class Unpacker:
    """Puts entries into `tree`, in the order of the archive.

    `dependent` says afterwards whether the result holds for these `lowers` only: the archive left out a parent
    directory, followed a symlink, linked to a file or removed one of the layers below. `has_root` says whether
    the archive had an entry for the root directory.
    """

    def __init__(self, tree: Path, lowers: Sequence[Path]) -> None:
        self.dependent = False
        self.has_root = False
        self._tree = str(tree)
        self._lowers = bool(lowers)
        self._below = View(lowers)
        self._merged = View([tree, *lowers], fresh=True)
        self._dirs = {""}
        self._placed = {"": ""}
        self._times: dict[str, Entry] = {}
        self._one_owner = namespace.single_identity()
        os.chmod(tree, 0o755)

    def add(self, entry: Entry, content: BinaryIO | None = None) -> None:
        """Put one entry in its place. Raises `Corrupt` where that is impossible."""
        parent, _, name = entry.path.rpartition("/")
        if not entry.path:
            self._root(entry)
        elif name.startswith(layers.WHITEOUT):
            self._whiteout(self._place(parent), name)
        else:
            place = self._place(parent)
            self._make(entry, f"{place}/{name}" if place else name, content)

    def finish(self) -> None:
        """Set what the directories' later content has changed: their times."""
        for path, entry in self._times.items():
            os.utime(self._at(path), ns=(entry.mtime * 10**9, entry.mtime * 10**9))
        if not self.has_root:
            os.utime(self._tree, ns=(0, 0))

    def _is_directory(self, path: str) -> bool:
        return path in self._dirs or stat.S_ISDIR(os.lstat(self._at(path)).st_mode)

    def _at(self, path: str) -> str:
        return f"{self._tree}/{path}"

    def _root(self, entry: Entry) -> None:
        if entry.kind != "dir":
            raise Corrupt(f"a layer's root is a {entry.kind}")
        self.has_root = True
        self._attributes(self._tree, entry)
        self._times[""] = entry

    def _make(self, entry: Entry, path: str, content: BinaryIO | None) -> None:
        try:
            self._create(entry, path, content)
        except FileExistsError:
            if entry.kind == "dir" and self._is_directory(path):
                self._dirs.add(path)
                self._attributes(self._at(path), entry)
                self._times[path] = entry
                return
            self._clear(path)
            self._create(entry, path, content)
            if entry.kind == "dir" and self._lowers:  # it replaces what was there, also below
                overlay.set_opaque(self._at(path))
            elif entry.kind == "dir":
                self.dependent = True  # on there being nothing below

    def _create(self, entry: Entry, path: str, content: BinaryIO | None) -> None:
        at = self._at(path)
        if entry.kind == "file":
            self._file(entry, at, content)
            return
        if entry.kind == "hardlink":
            self._link(entry, at)
            return
        if entry.kind == "dir":
            os.mkdir(at, 0o700)
            self._dirs.add(path)
            self._times[path] = entry
        elif entry.kind == "symlink":
            os.symlink(entry.link, at)
        elif not self._device(entry, at):
            return
        self._attributes(at, entry)
        if entry.kind != "dir":
            os.utime(at, ns=(entry.mtime * 10**9, entry.mtime * 10**9), follow_symlinks=False)

    def _file(self, entry: Entry, at: str, content: BinaryIO | None) -> None:
        fd = os.open(at, _CREATE, 0o600)
        try:
            left = entry.size
            while left and content is not None and (chunk := content.read(min(left, _CHUNK))):
                left -= len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
            if left:
                raise Corrupt(f"a layer ends inside {entry.path!r}")
            self._chown(fd, entry)
            for name, value in entry.xattrs.items():
                self._xattr(fd, name, value)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.mtime * 10**9, entry.mtime * 10**9))
        finally:
            os.close(fd)

    def _device(self, entry: Entry, at: str) -> bool:
        """A device or a pipe; False where it can't or must not be here (a 0:0 device would be a whiteout)."""
        device = os.makedev(entry.major, entry.minor)
        if entry.kind != "fifo" and (in_user_namespace() or not device):
            return False
        os.mknod(at, _DEVICES[entry.kind] | 0o600, device if entry.kind != "fifo" else 0)
        return True

    def _link(self, entry: Entry, at: str) -> None:
        parent, _, name = entry.link.rpartition("/")
        place = self._place(parent)
        target = f"{place}/{name}" if place else name
        if not os.path.lexists(self._at(target)) or overlay.is_whiteout(os.lstat(self._at(target))):
            self._copy_up(target, entry)
        try:
            os.link(self._at(target), at, follow_symlinks=False)
        except IsADirectoryError:
            raise Corrupt(f"{entry.path!r} is a hard link to a directory") from None
        except PermissionError:
            raise Corrupt(f"{entry.path!r} can't be a hard link to {entry.link!r}") from None

    def _copy_up(self, path: str, link: Entry) -> None:
        """A file of the layers below that a hard link names becomes one of this layer, as overlayfs does it."""
        self.dependent = True
        if os.path.lexists(self._at(path)) or not self._below.lexists(path):
            raise Corrupt(f"{link.path!r} is a hard link to {link.link!r}", why="which is not there")
        entry = self._below.entry(path)
        if entry is None or entry.kind == "dir":
            raise Corrupt(f"{link.path!r} is a hard link to {link.link!r}", why="which can't be linked to")
        if entry.kind == "file":
            with open(self._below.location(path), "rb") as content:
                self._file(entry, self._at(path), content)
        else:
            self._create(entry, path, None)

    def _whiteout(self, parent: str, name: str) -> None:
        at = self._at(parent)
        if name == layers.OPAQUE:
            overlay.set_opaque(at)
            for one in os.scandir(at):  # with nothing merged, overlayfs would list the whiteouts themselves
                if overlay.is_whiteout(one.stat(follow_symlinks=False)):
                    os.unlink(one.path)
            return
        gone = name[len(layers.WHITEOUT) :]
        if name.startswith(layers.WHITEOUT * 2) or gone in ("", ".", ".."):
            return  # aufs's own notes
        path = f"{parent}/{gone}" if parent else gone
        self.dependent = True
        if path in self._dirs:
            overlay.set_opaque(self._at(path))
        elif not os.path.lexists(self._at(path)) and self._merged.lexists(path):
            # Only where there is something to hide: in a directory that is merged with nothing, overlayfs
            # would list the whiteout itself.
            overlay.make_whiteout(self._at(path))

    def _place(self, directory: str) -> str:
        """Where entries of `directory` go in this tree, made if it is missing. Symlinks stay in the root."""
        known = self._placed.get(directory)
        if known is not None:
            return known
        place = symlinks.resolve(directory, self._target)
        at = ""
        for part in place.split("/") if place else ():
            at = f"{at}/{part}" if at else part
            if at not in self._dirs:
                self._implicit(at)
        self._placed[directory] = place
        return place

    def _target(self, path: str) -> str | None:
        if path in self._dirs:
            return None
        if not self._merged.lexists(path):
            return None
        try:
            target = os.readlink(self._merged.location(path))
        except OSError:
            return None
        self.dependent = True
        return target

    def _implicit(self, path: str) -> None:
        """A directory that the archive takes for granted: as the layers below have it."""
        self.dependent = True
        if os.path.lexists(self._at(path)) and not overlay.is_whiteout(os.lstat(self._at(path))):
            raise Corrupt(f"a layer puts files into {path!r}", why="which is a file there")
        hidden = os.path.lexists(self._at(path))
        if hidden:
            os.unlink(self._at(path))
        entry = Entry(path, "dir", 0o755)
        if not hidden and self._below.lexists(path):
            below = self._below.entry(path)
            if below is None or below.kind != "dir":
                raise Corrupt(f"a layer puts files into {path!r}", why="which is a file in the layers below")
            entry = below
        self._create(entry, path, None)
        if hidden:
            overlay.set_opaque(self._at(path))

    def _clear(self, path: str) -> None:
        """Make room for a later entry of the same name."""
        at = self._at(path)
        if self._is_directory(path):
            import shutil

            shutil.rmtree(at)
            inside = f"{path}/"
            self._dirs = {one for one in self._dirs if one != path and not one.startswith(inside)}
            self._times = {one: e for one, e in self._times.items() if one in self._dirs}
        else:
            os.unlink(at)
        self._placed = {"": ""}

    def _attributes(self, at: str, entry: Entry) -> None:
        """Owner first: it clears set-uid bits and capabilities."""
        self._chown(at, entry)
        for name in read_xattrs(at) if entry.kind == "dir" else ():
            if name not in entry.xattrs:
                os.removexattr(at, name, follow_symlinks=False)
        for name, value in entry.xattrs.items():
            self._xattr(at, name, value)
        if entry.kind != "symlink":
            os.chmod(at, entry.mode)

    def _chown(self, at: str | int, entry: Entry) -> None:
        if _NOBODY in (entry.uid, entry.gid):
            raise Corrupt(f"{entry.path!r} has no owner", why=f"{_NOBODY} would leave it to whoever unpacks it")
        if self._one_owner:
            return
        if isinstance(at, int):
            os.fchown(at, entry.uid, entry.gid)
        else:
            os.chown(at, entry.uid, entry.gid, follow_symlinks=False)

    def _xattr(self, at: str | int, name: str, value: bytes) -> None:
        if overlay.is_private(name):
            return  # a layer must not steer overlayfs
        try:
            if isinstance(at, int):
                os.setxattr(at, name, value)
            else:
                os.setxattr(at, name, value, follow_symlinks=False)
        except OSError as error:
            optional = name.startswith(("trusted.", "system.", "security.")) and name != "security.capability"
            if not (error.errno in (errno.EPERM, errno.ENOTSUP) and (optional or in_user_namespace())):
                raise


class _Ahead(Decompressed):
    """The plain bytes of a layer's blob, read, hashed and decompressed in a thread of their own."""

    def __init__(self, stream: BinaryIO, layer: Layer) -> None:
        # not super().__init__(): that reads the stream's head at once, which is for the thread to do
        self._layer = layer
        self._packed = _Hashing(stream, layer)
        self._hash = digests.hasher(layer.diff_id)
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(maxsize=8)
        self._stopped = False
        self._block = memoryview(b"")
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> _Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        if 0 <= size <= len(self._block):
            out = bytes(self._block[:size])
            self._block = self._block[size:]
            return out
        parts: list[bytes | memoryview] = []
        left = size if size >= 0 else 1 << 62
        while left and self._more():
            part = self._block[:left]
            self._block = self._block[len(part) :]
            left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def verify(self) -> None:
        """Read what is left (an archive may be padded) and compare both digests. Raises `Corrupt`."""
        while self.read(_CHUNK):
            pass
        self._thread.join()
        self._packed.verify()
        digests.check(self._layer.diff_id, self._hash, "the plain tar of a layer")

    def _more(self) -> bool:
        if not self._block and not self._ended:
            block = self._queue.get()
            if isinstance(block, BaseException):
                self._ended = True
                raise block
            self._block = memoryview(block)
            self._ended = not block
        return bool(self._block)

    def _work(self) -> None:
        try:
            what = f"layer {digests.short(self._layer.descriptor.digest)}"
            plain = Decompressed(cast(BinaryIO, self._packed), self._hash, what)
            while not self._stopped and (block := plain.read(_CHUNK)):
                self._queue.put(block)
            if not self._stopped:
                self._packed.drain()
            self._queue.put(b"")
        except BaseException as error:
            self._queue.put(error)


class _Hashing:
    """A blob's own bytes, hashed while they are read; never more of them than its descriptor says."""

    def __init__(self, stream: BinaryIO, layer: Layer) -> None:
        self._stream = stream
        self._layer = layer
        self._hash = digests.hasher(layer.descriptor.digest)
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._size += len(chunk)
        if self._size > self._layer.descriptor.size:
            raise Corrupt(f"layer {self._layer.descriptor.digest} is longer than its descriptor says")
        self._hash.update(chunk)
        return chunk

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass

    def verify(self) -> None:
        descriptor = self._layer.descriptor
        if self._size != descriptor.size:
            why = f"its descriptor says {descriptor.size}"
            raise Corrupt(f"layer {descriptor.digest} has {self._size} bytes", why=why)
        digests.check(descriptor.digest, self._hash, "a layer")
