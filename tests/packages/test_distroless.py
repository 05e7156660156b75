"""Distroless roots: what scripts would have made is there, and the record says no more than what is there."""

import hashlib
import os
from pathlib import Path

from pannikin.packages.deb import unpack_distroless
from pannikin.packages.deb.pins import Pinned

from .making import EPOCH, Deb, folder

CERTS = Deb(
    "ca-certificates", architecture="all", scripts={"postinst": b"#!/bin/sh\nexit 1\n"},
    files={"usr/share/ca-certificates/mozilla/B.crt": b"B\n", "usr/share/ca-certificates/mozilla/a.crt": b"a",
           "usr/sbin/update-ca-certificates": b"#!/bin/sh\n", "usr/share/doc/ca-certificates/copyright": b"c"},
)  # fmt: skip
ZONES = Deb("tzdata", files={"usr/share/zoneinfo/Etc/UTC": b"TZif", "usr/share/zoneinfo/right/UTC": b"x"})
FILES = Deb("base-files", files={"usr/lib/os-release": b"ID=debian\n"}, entries=[folder("./tmp/", 0o1777)])
APP = Deb("app", files={"usr/bin/app": b"x", "usr/share/man/man1/app.1": b"m", "usr/share/doc/app/NEWS": b"n"})


def make(root: Path, *debs: Deb) -> int:
    pool = root.parent / "debs"
    pool.mkdir(exist_ok=True)
    root.mkdir(exist_ok=True)
    pins = {Pinned(d.name, d.version, d.architecture, "", 0, ""): d.write(pool) for d in debs}
    return unpack_distroless(root, pins, architecture="amd64")


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert make(root, CERTS, ZONES, FILES, APP) == EPOCH - 100
    status = "var/lib/dpkg/status.d"
    assert files(root) == {
        "bin", "sbin", "lib", "lib64", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/localtime",
        "etc/timezone", "etc/ssl/certs/ca-certificates.crt", "usr/bin/app", "usr/lib/os-release",
        "usr/share/doc/ca-certificates/copyright", "usr/share/zoneinfo/Etc/UTC",
        f"{status}/app", f"{status}/app.md5sums", f"{status}/base-files", f"{status}/base-files.md5sums",
        f"{status}/ca-certificates", f"{status}/ca-certificates.md5sums", f"{status}/tzdata",
        f"{status}/tzdata.md5sums",
    }  # fmt: skip
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_bytes() == b"B\na\n"
    assert os.readlink(root / "etc/localtime") == "/usr/share/zoneinfo/Etc/UTC"
    assert "nonroot:x:65532:65532:nonroot:/home/nonroot:" in (root / "etc/passwd").read_text()
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    home = (root / "home/nonroot").stat()
    assert home.st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        assert (home.st_uid, home.st_gid) == (65532, 65532)
    assert not (root / "usr/share/man").exists() and not (root / "usr/share/doc/app").exists()


def test_the_record_does_not_lie(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make(root, CERTS, ZONES, FILES, APP)
    seen = 0
    for path in (root / "var/lib/dpkg/status.d").glob("*.md5sums"):
        for line in path.read_text().splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.md5((root / name).read_bytes()).hexdigest() == digest
            seen += 1
    assert seen == 4
    assert (root / "var/lib/dpkg/status.d/app").read_text() == APP.control


def test_a_second_layer_adds(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make(root, FILES)
    passwd = root / "etc/passwd"
    passwd.write_text(passwd.read_text() + "me:x:1:1::/:\n")
    make(root, APP, CERTS)
    assert "me:x:1:1" in passwd.read_text()
    assert (root / "etc/ssl/certs/ca-certificates.crt").exists()
    assert {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()} >= {"base-files", "app"}


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    modes = []
    for mask in (0o022, 0o077):
        root = tmp_path / oct(mask) / "root"
        root.mkdir(parents=True, mode=0o755)
        before = os.umask(mask)
        try:
            make(root, CERTS, ZONES, FILES, APP)
        finally:
            assert os.umask(before) == mask
        modes.append({str(path.relative_to(root)): path.lstat().st_mode for path in root.rglob("*")})
    assert modes[0] == modes[1]
