"""overlayfs: how it writes down that a file is gone or a directory replaced, and the mount itself.

A whiteout is a character device 0:0, an opaque directory has an attribute; see the kernel's
Documentation/filesystems/overlayfs.rst. In a user namespace the attributes are in the `user.` name space.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pannikin.runtime import namespace
from pannikin.runtime.bundle import in_user_namespace

_PAGE = 4000  # bytes of mount options that fit (a page, with room for the end)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this says that the file of that name in the layers below is gone."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(path: str) -> None:
    """Say that the file of that name in the layers below is gone. Raises FileExistsError."""
    os.mknod(path, stat.S_IFCHR, 0)


def is_private(xattr: str) -> bool:
    """Whether an extended attribute is overlayfs's own (or a label of this host): never in a layer, either way."""
    return xattr.startswith(("trusted.overlay.", "user.overlay.")) or xattr == "security.selinux"


def _opaque() -> str:
    return "user.overlay.opaque" if in_user_namespace() else "trusted.overlay.opaque"


def is_opaque(directory: str) -> bool:
    """Whether nothing of the layers below shows through the directory."""
    try:
        return os.getxattr(directory, _opaque(), follow_symlinks=False) == b"y"
    except OSError:
        return False


def set_opaque(directory: str, opaque: bool = True) -> None:
    """Let nothing of the layers below show through, or let it again."""
    if opaque:
        os.setxattr(directory, _opaque(), b"y", follow_symlinks=False)
    elif is_opaque(directory):
        os.removexattr(directory, _opaque(), follow_symlinks=False)


def mount(target: Path, lowers: Sequence[Path], upper: Path, work: Path, links: Path) -> None:
    """Mount the stack `lowers` (top first, at least one) with changes going to `upper`. Raises OSError.

    `links` is an empty directory of ours: for a stack whose paths do not fit into the page that mount(2) takes,
    it gets short symlinks. Nothing is synced to disk (`volatile`): an upper directory that a crash of the machine
    interrupts is never used again.
    """
    tried: OSError | None = None
    common = "userxattr" if in_user_namespace() else "index=off,metacopy=off,redirect_dir=off"
    for extra in (f"{common},volatile", common):
        data = f"lowerdir={':'.join(map(_escaped, lowers))},upperdir={_escaped(upper)},workdir={_escaped(work)},{extra}"
        try:
            if len(os.fsencode(data)) < _PAGE:
                namespace.mount("overlay", str(target), "overlay", 0, data)
            else:
                _mount_by_links(target, lowers, (upper, work), links, extra)
            return
        except OSError as error:
            tried = error
            if error.errno != errno.EINVAL:
                break
    assert tried is not None
    raise tried


def _escaped(path: Path) -> str:
    return "".join(f"\\{char}" if char in "\\:," else char for char in str(path))


def _mount_by_links(target: Path, lowers: Sequence[Path], own: tuple[Path, Path], links: Path, extra: str) -> None:
    for number, path in enumerate((*own, *lowers)):
        link = links / str(number)
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    names = ":".join(str(number) for number in range(2, len(lowers) + 2))
    data = f"lowerdir={names},upperdir=0,workdir=1,{extra}"
    _in_directory(links, lambda: namespace.mount("overlay", str(target), "overlay", 0, data))


def _in_directory(directory: Path, action: Callable[[], None]) -> None:
    """Do something with another working directory, in a thread that has one of its own."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            namespace.unshare(namespace.CLONE_FS, "a working directory of its own")
            os.chdir(directory)
            action()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
