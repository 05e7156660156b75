"""Distroless: the files of packages and a record of them; no script ever runs, so none of their tools is needed.

What maintainer scripts would have made and a program can miss is made here: users, name service order, the
bundle of certificate authorities, the time zone. The record is one stanza a package under
/var/lib/dpkg/status.d/, as scanners know it from Google's distroless images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pannikin.packages.deb import filters
from pannikin.packages.deb.index import Record
from pannikin.packages.deb.pins import Pinned
from pannikin.packages.deb.relations import Atom
from pannikin.packages.deb.unpack import Root, Unpacked, merge_usr, plain_umask, unpack

DROP = ("docs", "man", "locales", "caches", "gconv", "zoneinfo-variants")
"""Left out by default."""
NONROOT = 65532

UNNEEDED = frozenset({
    "adduser", "awk", "base-passwd", "cdebconf", "coreutils", "dash", "debconf", "debconf-2.0", "debianutils",
    "dpkg", "init-system-helpers", "install-info", "libc-bin", "login", "lsb-base", "mawk", "passwd", "perl-base",
    "sed", "sysvinit-utils", "ucf", "usr-is-merged", "usrmerge",
})  # fmt: skip
"""Packages on which others depend for their maintainer scripts. Asked for by name, they are there."""
UNNEEDED_BY: Mapping[str, frozenset[str]] = {
    "ca-certificates": frozenset({"openssl"}),  # to hash certificates in update-ca-certificates
}
REPLACED = ("usr/share/ca-certificates", "usr/sbin/update-ca-certificates", "etc/ca-certificates")
"""What the certificate bundle stands for: one file instead of 140 and the script that joins them."""


def unneeded(record: Record, group: tuple[Atom, ...]) -> bool:
    """Whether a dependency is there for maintainer scripts only."""
    extra = UNNEEDED_BY.get(record.name, frozenset())
    return any(atom.name in UNNEEDED or atom.name in extra for atom in group)


def unpack_distroless(root: Path, debs: Mapping[Pinned, Path], *, architecture: str, drop: Sequence[str] = DROP) -> int:
    """Unpack `debs` into `root` and finish it without running anything in it. Safe to call again for more packages.

    Returns the newest mtime (epoch seconds) of the packages' members.
    """
    order = sorted(debs.items(), key=lambda item: item[0].name != "base-files")
    with plain_umask():
        inside = Root(root)
        merge_usr(inside, architecture)
        found = unpack(inside, [(str(pin), path) for pin, path in order], filters.dropper(drop))
        _certificates(root)
        _users(root)
        _time(root)
        gone = _empty_directories(root, found)
        for one in found:
            _record(root, one, gone)
    return max((one.newest for one in found), default=0)


def _record(root: Path, one: Unpacked, gone: set[str]) -> None:
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True, exist_ok=True)
    name = one.record.name
    (folder / name).write_bytes(one.control["control"].strip(b"\n") + b"\n")
    absent = one.dropped | gone
    lines = one.control.get("md5sums", b"").decode("utf-8", "surrogateescape").splitlines()
    kept = [line for line in lines if _there(root, line.partition("  ")[2], absent)]
    if kept:
        text = "".join(f"{line}\n" for line in kept)
        (folder / f"{name}.md5sums").write_text(text, "utf-8", "surrogateescape")


def _there(root: Path, path: str, absent: set[str]) -> bool:
    return path not in absent and not any(path == name or path.startswith(name + "/") for name in REPLACED)


def _certificates(root: Path) -> None:
    """/etc/ssl/certs/ca-certificates.crt as update-ca-certificates makes it with every authority enabled."""
    folder = root / "usr/share/ca-certificates"
    if not folder.is_dir():
        return
    parts = []
    for path in sorted(folder.rglob("*.crt"), key=lambda path: os.fsencode(path.relative_to(folder))):
        text = path.read_bytes()
        parts.append(text if text.endswith(b"\n") else text + b"\n")
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(parts))
    _remove(root)


def _remove(root: Path) -> None:
    import shutil

    for name in REPLACED:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_PASSWD = f"""\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin
"""
_GROUP = f"""\
root:x:0:
tty:x:5:
mail:x:8:
shadow:x:42:
utmp:x:43:
staff:x:50:
nogroup:x:65534:
nonroot:x:{NONROOT}:
"""
_NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
services: files
protocols: files
"""


def _users(root: Path) -> None:
    """Users by Debian's numbers, and how names are looked up (glibc, and Go programs, read nsswitch.conf)."""
    (root / "etc").mkdir(exist_ok=True)
    for name, text in (("passwd", _PASSWD), ("group", _GROUP), ("nsswitch.conf", _NSSWITCH)):
        path = root / "etc" / name
        if not path.exists():
            path.write_text(text)
            path.chmod(0o644)
    home = root / "home/nonroot"
    if not home.exists():
        home.mkdir(parents=True)
        home.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(home, NONROOT, NONROOT)


def _time(root: Path) -> None:
    if not (root / "usr/share/zoneinfo").is_dir():
        return
    link = root / "etc/localtime"
    if not link.is_symlink():
        link.symlink_to("/usr/share/zoneinfo/Etc/UTC")
        (root / "etc/timezone").write_text("Etc/UTC\n")


def _empty_directories(root: Path, found: Sequence[Unpacked]) -> set[str]:
    """Remove directories that are empty because their content was left out. Returns what is gone."""
    candidates: set[str] = set()
    for one in found:
        for path in one.dropped:
            while "/" in path:
                path = path.rpartition("/")[0]
                candidates.add(path)
    inside = Root(root)
    for path in sorted(candidates, key=len, reverse=True):
        if path.startswith("usr/"):
            try:
                os.rmdir(os.path.join(inside.path, path))
            except OSError:
                continue  # not empty, or never made
    return {path for one in found for path in one.dropped}
