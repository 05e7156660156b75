"""A private mount namespace for this process, in which every mount dies with it.

`enter()` is called once, at the start of a verb that mounts, before any thread is started. As root it makes a
mount namespace; otherwise a user namespace first, in which we are root over our own subordinate users (subuid(5),
by newuidmap(1)) or, where those are missing, over ourselves alone.
"""

from __future__ import annotations

import errno
import os
import pwd
from functools import cache
from pathlib import Path
from typing import Any

from pannikin.errors import Unavailable

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2

_entered = False


def enter() -> None:
    """Go into the private namespaces, once. Raises `Unavailable` where the kernel forbids it."""
    global _entered
    if _entered:
        return
    if os.geteuid() == 0:
        unshare(CLONE_NEWNS, "a private mount namespace")
    else:
        _enter_user_namespace()
    try:
        mount("none", "/", "", MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Unavailable(
            "can't make the mounts of this process private", why="its root directory is no mount point, as in a chroot",
            hint="bind the chroot's directory onto itself before entering it: mount --bind DIR DIR",
        ) from None  # fmt: skip
    _entered = True


def entered() -> bool:
    """Whether `enter` was called: mounts made now are private."""
    return _entered


def single_identity() -> bool:
    """Whether only one user number is mapped here: files can't be given to others (chown fails)."""
    lines = Path("/proc/self/uid_map").read_text().split("\n")
    return sum(int(line.split()[2]) for line in lines if line.strip()) == 1


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _errno() -> int:
    import ctypes

    return ctypes.get_errno()


def unshare(flags: int, what: str) -> None:
    """unshare(2) (os.unshare is Python 3.12's). Raises `Unavailable`."""
    if _libc().unshare(flags):
        code = _errno()
        hint = "run as root, or allow unprivileged user namespaces (sysctl user.max_user_namespaces)"
        raise Unavailable(f"the kernel refuses {what}", why=os.strerror(code), hint=hint)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    import ctypes

    words = [os.fsencode(text) for text in (source, target, kind, data)]
    if _libc().mount(*words[:3], ctypes.c_ulong(flags), words[3]):
        code = _errno()
        raise OSError(code, os.strerror(code), target)


def unmount(target: str) -> None:
    """umount2(2), lazily: gone from here at once, for good when its last user has closed. Raises OSError."""
    if _libc().umount2(os.fsencode(target), MNT_DETACH):
        code = _errno()
        raise OSError(code, os.strerror(code), target)


def _enter_user_namespace() -> None:
    import shutil

    uid, gid = os.geteuid(), os.getegid()
    users, groups = _subordinates("/etc/subuid", uid), _subordinates("/etc/subgid", uid)
    ranged = bool(users and groups and shutil.which("newuidmap") and shutil.which("newgidmap"))
    if not ranged:
        unshare(CLONE_NEWUSER | CLONE_NEWNS, "a user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        return
    # The maps are written by set-uid programs from outside: a child, made before, runs them after our unshare.
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os._exit(_write_maps(go_read, os.getppid(), (uid, users), (gid, groups)))
    os.close(go_read)
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS, "a user namespace")
        os.write(go_write, b".")
    finally:
        os.close(go_write)
        _, status = os.waitpid(child, 0)
    if status:
        raise Unavailable(
            "newuidmap failed", why="the subordinate users can't be mapped", hint="see /etc/subuid and /etc/subgid"
        )
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    try:
        os.setgroups([])
    except OSError:
        pass


_Range = tuple[int, int]


def _write_maps(go: int, parent: int, users: tuple[int, list[_Range]], groups: tuple[int, list[_Range]]) -> int:
    import subprocess

    if os.read(go, 1) != b".":
        return 0  # the namespace was refused: nothing to map
    for program, (own, ranges) in (("newuidmap", users), ("newgidmap", groups)):
        numbers = [0, own, 1]
        inside = 1
        for first, count in ranges:
            numbers += [inside, first, count]
            inside += count
        if subprocess.run([program, str(parent), *map(str, numbers)], check=False).returncode:
            return 1
    return 0


def _subordinates(file: str, uid: int) -> list[_Range]:
    """The ranges of subordinate numbers that belong to us: (first, how many)."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return []
    fields = [line.split(":") for line in lines]
    return [(int(f[1]), int(f[2])) for f in fields if len(f) == 3 and f[0] in (name, str(uid)) and f[2] != "0"]
