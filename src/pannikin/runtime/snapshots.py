"""Layers unpacked once each, stacked by overlayfs, and the difference taken back.

    with Snapshots(directory, store).writable(layers) as work:
        run(work.root, command)
        if work.capture(writer, epoch):
            work.adopt(writer.finish())

A snapshot is a cache: it is not synced to disk, lies under the boot that made it, and can be made again from its
blob. One whose tar stands alone has the name of its diff ID, one that depends on the layers below that of its
chain ID. A snapshot in use is locked (shared) by its user, so that `prune` in another process leaves it alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pannikin import progress
from pannikin.errors import Unavailable
from pannikin.oci.digest import Digest, chain_id, short
from pannikin.oci.image import Blobs, Layer
from pannikin.oci.layer import OPAQUE, WHITEOUT, LayerWriter
from pannikin.runtime import capture, namespace, overlay
from pannikin.runtime.bundle import in_user_namespace
from pannikin.runtime.claims import Claim, sweep
from pannikin.runtime.export import pour
from pannikin.runtime.unpack import Unpacker, unpack
from pannikin.runtime.view import ROOT_MARK, View

_TREE = "fs"
_DIFF = "diff"
_TEMPORARY = "temp"
_NO_OVERLAY = (errno.ENODEV, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


class Snapshots:
    """The snapshots in `directory`, made from `blobs`. Safe for threads and for several processes at once."""

    def __init__(self, directory: Path, blobs: Blobs) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # owners are stored as they are mapped: root and a user namespace can't share
        self._home = directory / (f"{boot}-user" if in_user_namespace() else boot)
        self._directory = directory
        self._blobs = blobs
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Let go of the snapshots that were used, so that `prune` may remove them."""
        with self._lock:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()

    def lowers(self, layers: Sequence[Layer]) -> list[Path]:
        """The trees of these layers (base first), top first, as overlayfs wants them; unpacked where missing.

        Raises `Corrupt` where a blob is not what its digests say, `Unavailable` where the disk is full.
        """
        stack: list[Path] = []
        diff_ids: list[Digest] = []
        for layer in layers:
            diff_ids.append(layer.diff_id)
            stack.insert(0, self._snapshot(layer, chain_id(diff_ids), stack))
        return stack

    def view(self, layers: Sequence[Layer]) -> View:
        """What a container of these layers would see, without a mount."""
        return View(self.lowers(layers))

    @contextmanager
    def writable(self, layers: Sequence[Layer]) -> Iterator[Writable]:
        """The layers merged at `.root`, to be written to. Unmounted and removed at the end.

        Raises `Unavailable` outside of a private mount namespace.
        """
        if not namespace.entered():
            raise Unavailable("no private mount namespace", why="namespace.enter() was not called at the start")
        lowers = self.lowers(layers)
        with Claim(self._home, _TEMPORARY) as claim:
            work = Writable(self, claim.path, layers, lowers)
            try:
                yield work
            finally:
                work.unmount()

    def clean(self) -> int:
        """Remove what killed processes left; returns how many leftovers."""
        return sweep(self._home, _TEMPORARY)

    def prune(self, keep: set[Digest]) -> int:
        """Remove the snapshots of layers whose diff ID is not in `keep` and that nobody uses; returns how many.

        Those of earlier boots go as well: what was not synced then can't be trusted.
        """
        import shutil

        removed = self.clean()
        own = self._home.name.removesuffix("-user")
        for home in sorted(self._directory.iterdir()):
            if not home.is_dir() or home.name in (own, f"{own}-user"):
                continue
            shutil.rmtree(home, ignore_errors=True)
            removed += 1
        with self._lock:
            for path in sorted(self._home.iterdir()):
                if path.name.startswith(("d-", "c-")) and _diff(path) not in keep and self._remove(path):
                    removed += 1
        return removed

    def adopt(self, tree: Path, layers: Sequence[Layer], *, dependent: bool, has_root: bool) -> None:
        """Take a tree that is what the last of `layers` unpacks to as its snapshot."""
        layer = layers[-1]
        chain = chain_id([one.diff_id for one in layers])
        with self._making(layer):
            if self._hold(layer, chain) is None:
                holder = tree.parent / "made"
                holder.mkdir()
                tree.rename(holder / _TREE)
                self._publish(holder, layer, chain, dependent=dependent, has_root=has_root)

    def _snapshot(self, layer: Layer, chain: Digest, below: Sequence[Path]) -> Path:
        found = self._hold(layer, chain)
        if found is None:
            with self._making(layer):
                found = self._hold(layer, chain) or self._unpack(layer, chain, below)
        return found / _TREE

    def _hold(self, layer: Layer, chain: Digest) -> Path | None:
        """The layer's snapshot, locked against `prune`; None where there is none yet."""
        for path in self._places(layer.diff_id, chain):
            with self._lock:
                if path.name in self._held:
                    return path
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue
                fcntl.flock(fd, fcntl.LOCK_SH)
                if not (path / _TREE).is_dir():  # pruned a moment ago
                    os.close(fd)
                    continue
                self._held[path.name] = fd
                return path
        return None

    def _places(self, diff_id: Digest, chain: Digest) -> tuple[Path, Path]:
        return self._home / f"d-{diff_id.replace(':', '-')}", self._home / f"c-{chain.replace(':', '-')}"

    @contextmanager
    def _making(self, layer: Layer) -> Iterator[None]:
        """One thread of one process makes a layer's snapshot; the others wait for it."""
        fd = os.open(self._home / f"lock-{layer.diff_id[-16:]}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _unpack(self, layer: Layer, chain: Digest, below: Sequence[Path]) -> Path:
        sweep(self._home, _TEMPORARY)
        with progress.step(f"unpack layer {short(layer.diff_id)}"), Claim(self._home, _TEMPORARY) as claim:
            holder = claim.path / "made"
            (holder / _TREE).mkdir(parents=True)
            done: Unpacker = unpack(self._blobs, layer, holder / _TREE, below)
            self._publish(holder, layer, chain, dependent=done.dependent, has_root=done.has_root)
        found = self._hold(layer, chain)
        assert found is not None
        return found

    def _publish(self, holder: Path, layer: Layer, chain: Digest, *, dependent: bool, has_root: bool) -> None:
        (holder / _DIFF).write_text(layer.diff_id)
        if has_root:
            (holder / ROOT_MARK).touch()
        alone, stacked = self._places(layer.diff_id, chain)
        holder.rename(stacked if dependent else alone)

    def _remove(self, path: Path) -> bool:
        if path.name in self._held:
            return False
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with Claim(self._home, _TEMPORARY) as claim:
                path.rename(claim.path / "gone")
            return True
        except OSError:
            return False
        finally:
            os.close(fd)


def _diff(path: Path) -> Digest | None:
    try:
        return Digest((path / _DIFF).read_text())
    except OSError:
        return None


class Writable:
    """Some layers merged at `root` and open to change; the changes are in `upper`.

    Where overlayfs is missing, `root` is a full copy and so is `upper` (`copied` says so).
    """

    def __init__(self, snapshots: Snapshots, home: Path, layers: Sequence[Layer], lowers: Sequence[Path]) -> None:
        self._snapshots = snapshots
        self._layers = layers
        self._below = View(lowers)
        self._changes: list[capture.Change] = []
        self._mounted = False
        self.root, self.upper, self.copied = home / "root", home / "upper", False
        for name in ("root", "upper", "work", "links", "empty"):
            (home / name).mkdir(mode=0o755)
        _imitate_root(self.upper, self._below)
        try:
            overlay.mount(self.root, lowers or [home / "empty"], self.upper, home / "work", home / "links")
            self._mounted = True
        except OSError as error:
            if error.errno not in _NO_OVERLAY:
                raise Unavailable("the layers can't be mounted", why=str(error)) from None
            self.root, self.copied = self.upper, True
            copy_tree(self._below, self.upper)

    def unmount(self) -> None:
        """Take the merged view away; what was changed stays in `upper` until the end."""
        if self._mounted:
            namespace.unmount(str(self.root))
            self._mounted = False

    def capture(self, writer: LayerWriter, epoch: int) -> bool:
        """Write what was changed into a layer; returns whether there was anything. `root` is gone after it.

        Modification times after `epoch` (seconds since 1970) become `epoch`.
        """
        self.unmount()
        try:
            self._changes = capture.scan(self.upper, self._below, epoch, whole=self.copied)
            capture.write(self._changes, writer)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise Unavailable("no space left for a layer", why=str(error)) from None
            raise
        return bool(self._changes)

    def adopt(self, layer: Layer) -> None:
        """Keep the changes as the snapshot of the layer that `capture` wrote: it need not be unpacked again."""
        if self.copied or not self._changes:
            return
        entries = [change.entry for change in self._changes]
        dependent = any(_is_whiteout(entry.path) for entry in entries)
        has_root = any(not entry.path for entry in entries)
        if not has_root:
            os.utime(self.upper, ns=(0, 0))
        self._snapshots.adopt(self.upper, [*self._layers, layer], dependent=dependent, has_root=has_root)


def _is_whiteout(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(WHITEOUT) and name != OPAQUE


def _imitate_root(upper: Path, below: View) -> None:
    entry = capture.root_entry(below)
    if not namespace.single_identity():
        os.chown(upper, entry.uid, entry.gid)
    for name, value in entry.xattrs.items():
        os.setxattr(upper, name, value)
    upper.chmod(entry.mode)
    os.utime(upper, ns=(entry.mtime * 10**9, entry.mtime * 10**9))


def copy_tree(view: View, tree: Path) -> None:
    """The merged view as real files, for where nothing can be mounted."""
    copier = Unpacker(tree, ())
    pour(view, copier.add)
    copier.add(capture.root_entry(view))
    copier.finish()
