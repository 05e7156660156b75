"""Real layers in a real store, a real mount namespace, and root file systems from this host's own programs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pannikin.oci.image import Layer
from pannikin.oci.layer import Entry, LayerWriter
from pannikin.runtime import namespace
from pannikin.runtime.snapshots import Snapshots
from pannikin.store import Store

Pack = Callable[..., Layer]
PROGRAMS = ("sh", "cat", "ls", "id", "sleep", "touch", "mkdir", "rm", "mv", "ln", "chmod", "chown", "true", "cp",
            "rmdir", "mkfifo", "env", "hostname", "stat", "mknod", "unshare", "readlink", "pwd", "python3")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def private() -> None:
    """The test process in its own mount namespace: what a test leaves mounted goes with it."""
    namespace.enter()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def pack(store: Store) -> Pack:
    """`pack((entry, content) or entry, ..., compression=)` -> a layer in the store."""

    def make(*members: Entry | tuple[Entry, bytes], compression: str = "gzip") -> Layer:
        with store.upload() as upload:
            writer = LayerWriter(upload, compression)  # type: ignore[arg-type]
            for member in members:
                entry, content = member if isinstance(member, tuple) else (member, b"")
                entry.size = len(content)
                writer.add(entry, content)
            layer = writer.finish()
            upload.commit(layer.descriptor.digest)
        return layer

    return make


@pytest.fixture
def snapshots(tmp_path: Path, store: Store) -> Iterator[Snapshots]:
    made = Snapshots(tmp_path / "snapshots", store)
    yield made
    made.close()


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system of this host's own programs and the libraries that they load."""
    root = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "etc", "tmp", "root"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "srv/data").mkdir(parents=True)
    (root / "srv/data/old").write_text("old")
    root.chmod(0o755)
    libraries: set[str] = set()
    for name in PROGRAMS:
        found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None or name == "python3":
            continue
        shutil.copy(found, root / "bin" / name)
        linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        libraries.update(re.findall(r"(/\S+\.so\S*)", linked))
    for library in libraries:
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    return root


@pytest.fixture
def base(pack: Pack, rootfs: Path) -> Layer:
    """That root file system as a layer."""
    members: list[Entry | tuple[Entry, bytes]] = []
    for path in sorted(rootfs.rglob("*")):
        status, name = path.lstat(), str(path.relative_to(rootfs))
        if path.is_dir():
            members.append(Entry(name, "dir", stat.S_IMODE(status.st_mode)))
        else:
            members.append((Entry(name, "file", stat.S_IMODE(status.st_mode)), path.read_bytes()))
    return pack(*members)


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that a layer can say about a directory's content, for comparison."""
    found: dict[str, tuple[object, ...]] = {}
    names_of: dict[int, list[str]] = {}
    for directory, names, files in os.walk(root):
        for name in sorted(names + files):
            path = Path(directory, name)
            status = path.lstat()
            relative = str(path.relative_to(root))
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False) if ".overlay." not in key or "opaque" in key
            }  # fmt: skip
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            names_of.setdefault(0 if stat.S_ISDIR(status.st_mode) else status.st_ino, []).append(relative)
            found[relative] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, content,
                tuple(sorted(attributes.items())),
            )  # fmt: skip
    for group in names_of.values():
        for relative in group:
            if stat.S_ISREG(int(found[relative][0])):  # type: ignore[call-overload]
                found[relative] += (tuple(sorted(group)),)
    return found
