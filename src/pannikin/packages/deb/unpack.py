"""Packages onto a root directory: several at a time, and never out of it.

dpkg follows a directory symlink where a package ships a directory (/lib on a merged /usr), and so does this; but
links are followed inside the root only, as the kernel would after a chroot. A directory that was once resolved
stays what it is: nothing here removes or replaces one.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pannikin import progress
from pannikin.errors import Corrupt, Unsafe
from pannikin.packages.deb import version
from pannikin.packages.deb.debfile import CHUNK, Deb, Member, Packed, members
from pannikin.packages.deb.index import Record, stanza
from pannikin.packages.deb.transport import disk_error

MAX_LINKS = 40
"""Symlinks that one path may lead through: the kernel's limit."""
LIB64 = frozenset({"amd64", "loong64", "ppc64el"})
"""Debian architectures whose dynamic loader is in /lib64."""


@dataclass
class Unpacked:
    """A package after unpacking: its control files, and the paths that it owns.

    `paths` are as its tar has them, in order, without `./` (the root is ""); `dropped` those left out; `made`
    the directories' members, for their modes; `newest` the latest mtime of its members, epoch seconds.
    """

    control: dict[str, bytes]
    paths: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    made: list[Member] = field(default_factory=list)
    conffiles: dict[str, str] = field(default_factory=dict)
    newest: int = 0

    @property
    def record(self) -> Record:
        """The package's own control stanza."""
        return Record(stanza(self.control["control"].decode("utf-8", "replace")))


class Root:
    """A directory that paths are resolved in, as if it were `/`.

    `before` tells the package that owned a path before this unpacking, if any did; `replaces` which other
    packages of the same unpacking each one replaces.
    """

    def __init__(self, path: Path, before: Callable[[str], str | None] | None = None) -> None:
        self.before = before
        self.replaces: dict[str, set[str]] = {}
        self.path = os.path.realpath(path)
        self._known: dict[str, str] = {"": self.path}
        self._owners: dict[str, str] = {}
        self._chown = os.geteuid() == 0
        # Directories made here get their member's mode and times; one that was there stays as it is, as with dpkg.
        self.made: set[str] = set() if os.listdir(self.path) else {self.path}

    def directory(self, path: str) -> str:
        """The real path of a directory in the root, made where it is missing. Links are followed inside the root."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._walk(path)
        return known

    def _walk(self, path: str) -> str:
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in (".", ""):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([self.path, *done, part])
            mode = _mode(here)
            if mode is None:
                self._mkdir(here)
                mode = _mode(here)
            if mode is not None and stat.S_ISLNK(mode):
                links += 1
                if links > MAX_LINKS:
                    raise Unsafe("a path leads through too many links", where="/" + path)
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                todo += target.split("/")[::-1]
            elif mode is not None and stat.S_ISDIR(mode):
                done.append(part)
            else:
                raise Unsafe("a package puts a file below what is no directory", where="/" + path)
        return "/".join([self.path, *done])

    def _mkdir(self, path: str) -> None:
        try:
            os.mkdir(path, 0o755)
            self.made.add(path)
        except FileExistsError:
            pass  # another package's thread was first

    def place(self, path: str) -> str:
        """Where a member goes: its parent resolved, its own last part not followed. Raises `Unsafe` for `..`."""
        folder, _, name = path.rpartition("/")
        if name in ("", ".", "..") or (folder and not _plain(folder)):
            raise Unsafe("a package has a path that leaves its root", where=path)
        return f"{self.directory(folder)}/{name}"

    def claim(self, place: str, path: str, package: str) -> bool:
        """Whether `package` may put its file at this real path; not where one that Replaces it was first.

        Raises `Corrupt` where another package has the path and neither replaces the other.
        """
        owner = self._owners.setdefault(place, package)
        if owner == package and self.before is not None and _mode(place) is not None:
            owner = self.before("/" + path) or package
        if owner == package:
            return True
        mine, other = package.partition("=")[0], owner.partition("=")[0]
        if other in self.replaces.get(mine, ()):
            self._owners[place] = package
            return True
        if mine in self.replaces.get(other, ()):
            return False
        raise Corrupt(f"{package} and {owner} both have /{path}", hint="leave one of them out")

    def owned(self, place: int | str, uid: int, gid: int) -> None:
        """Give a file (by descriptor or path) its owner, where this process may."""
        if not self._chown:
            return
        if isinstance(place, int):
            os.fchown(place, uid, gid)
        else:
            os.lchown(place, uid, gid)


def _plain(folder: str) -> bool:
    return not folder.startswith("/") and ".." not in folder.split("/")


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise Unsafe("a package puts a file below what is no directory", where=path) from None


@contextmanager
def plain_umask() -> Iterator[None]:
    """022 for what is made inside: an image must not depend on its maker's umask. It is the whole process's."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def merge_usr(root: Root, architecture: str) -> None:
    """The links /bin, /sbin, /lib and /lib64 into /usr, which must be there before the first package is unpacked.

    Only in a root without /usr: what is there already has its layout.
    """
    if os.path.lexists(f"{root.path}/usr"):
        return
    for name in ["bin", "sbin", "lib"] + (["lib64"] if architecture in LIB64 else []):
        root.directory(f"usr/{name}")
        os.symlink(f"usr/{name}", f"{root.path}/{name}")


def unpack(
    root: Root, debs: Sequence[tuple[str, Path]], drop: Callable[[str], bool], *, workers: int | None = None
) -> list[Unpacked]:
    """Unpack packages (title, file) and give every directory its mode, in the order given.

    Raises `Corrupt` (a damaged package), `Unsafe` (one that would leave the root), `Unavailable` (disk full).
    """
    workers = workers or min(8, os.cpu_count() or 1)
    lock = threading.Lock()
    done = 0
    with progress.step(f"unpack {len(debs)} packages") as step, ThreadPoolExecutor(workers) as pool:

        def one(number: int) -> Unpacked:
            nonlocal done
            result = _unpack(root, *debs[number], drop)
            with lock:
                done += 1
                step.advance(done, len(debs), "packages")
            return result

        replacing = _replacing(root, debs)
        # The largest first, so that no worker ends alone with it; those that replace files of others last, in order.
        order = sorted(set(range(len(debs))) - replacing, key=lambda number: -debs[number][1].stat().st_size)
        jobs = {number: pool.submit(contextvars.copy_context().run, one, number) for number in order}
        try:
            results = {number: job.result() for number, job in jobs.items()}
        except BaseException:
            for job in jobs.values():
                job.cancel()
            raise
        results |= {number: one(number) for number in sorted(replacing)}
    found = [results[number] for number in range(len(debs))]
    _directories(root, found)
    return found


def _replacing(root: Root, debs: Sequence[tuple[str, Path]]) -> set[int]:
    """The packages that replace files of others in this unpacking, by number; tells `root` which.

    Most Replaces speak of old versions and mean none that is here.
    """
    records = []
    for title, path in debs:
        with Deb(path, title) as deb:
            records.append(Unpacked(deb.control()).record)
    versions = {record.name: record.version for record in records}
    for record in records:
        for atom in (atom for group in record.replaces for atom in group):
            if atom.name in versions and atom.name != record.name and version.meets(versions[atom.name], atom):
                root.replaces.setdefault(record.name, set()).add(atom.name)
    return {number for number, record in enumerate(records) if record.name in root.replaces}


def _unpack(root: Root, title: str, path: Path, drop: Callable[[str], bool]) -> Unpacked:
    try:
        with Deb(path, title) as deb:
            result = Unpacked(deb.control())
            conffiles = _conffiles(result.control)
            stream = deb.data()
            for member in members(stream):
                _place(root, stream, member, result, drop, conffiles, title)
            return result
    except OSError as error:
        raise disk_error(error, Path(root.path) / title) from None


def _conffiles(control: dict[str, bytes]) -> set[str]:
    lines = control.get("conffiles", b"").decode("utf-8", "replace").splitlines()
    return {line.strip().lstrip("/") for line in lines if line.strip() and not line.startswith("remove-on-upgrade")}


def _place(
    root: Root, stream: Packed, member: Member, result: Unpacked, drop: Callable[[str], bool],
    conffiles: set[str], title: str,
) -> None:  # fmt: skip
    path = member.path
    result.paths.append(path)
    result.newest = max(result.newest, member.mtime)
    if drop(path):
        result.dropped.add(path)
        if member.kind == "file":
            stream.skip(member.size)
        return
    if member.kind == "dir":
        if path and not _plain(path):
            raise Unsafe("a package has a path that leaves its root", where=title, why=path)
        root.directory(path)
        result.made.append(member)
        return
    place = root.place(path)
    if not root.claim(place, path, title):
        if member.kind == "file":
            stream.skip(member.size)
        return
    _clear(place, title, path)
    if member.kind == "file":
        digest = hashlib.md5(usedforsecurity=False) if path in conffiles else None
        _file(root, place, stream, member, digest)
        if digest is not None:
            result.conffiles["/" + path] = digest.hexdigest()
    else:
        _special(root, place, member, result, title)


def _clear(place: str, title: str, path: str) -> None:
    mode = _mode(place)
    if mode is None:
        return
    if stat.S_ISDIR(mode):
        raise Unsafe("a package would put a file in place of a directory", where=title, why="/" + path)
    os.unlink(place)


def _file(root: Root, place: str, stream: Packed, member: Member, digest: hashlib._Hash | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(place, flags, 0o600)
    try:
        left = member.size
        while left:
            chunk = stream.upto(min(left, CHUNK))
            if not chunk:
                raise Corrupt("a package is cut off", where=stream.where)
            left -= len(chunk)
            if digest is not None:
                digest.update(chunk)
            _write(handle, chunk)
        root.owned(handle, member.uid, member.gid)
        os.fchmod(handle, member.mode)
        os.utime(handle, (member.mtime, member.mtime))
    finally:
        os.close(handle)


def _write(handle: int, chunk: bytes) -> None:
    written = os.write(handle, chunk)
    while written < len(chunk):
        written += os.write(handle, chunk[written:])


def _special(root: Root, place: str, member: Member, result: Unpacked, title: str) -> None:
    if member.kind == "symlink":
        os.symlink(member.link, place)
        root.owned(place, member.uid, member.gid)
        os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)
    elif member.kind == "hardlink":
        link = member.link.removeprefix("./")
        if link in result.dropped:
            raise Corrupt(f"{title}: /{member.path} is a hard link to /{link}, which is left out")
        target = root.place(link)
        if _mode(target) is None or link not in result.paths:
            raise Unsafe("a package has a hard link to what is not its own", where=title, why=member.link)
        os.link(target, place, follow_symlinks=False)
    elif member.kind == "fifo":
        os.mkfifo(place, member.mode)
        root.owned(place, member.uid, member.gid)
    else:
        raise Unsafe("a package ships a device node", where=title, why="/" + member.path)


def _directories(root: Root, found: Iterable[Unpacked]) -> None:
    """Modes and owners by the first package that has a directory, times by the newest. Directories that were there
    before are left alone."""
    first: dict[str, Member] = {}
    times: dict[str, int] = {}
    for one in found:
        for member in one.made:
            place = root.directory(member.path)
            if place not in root.made:
                continue
            first.setdefault(place, member)
            times[place] = max(times.get(place, 0), member.mtime)
    for place, member in first.items():
        root.owned(place, member.uid, member.gid)
        os.chmod(place, member.mode)
        os.utime(place, (times[place], times[place]))
