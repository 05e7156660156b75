"""dpkg's database as we write it, read by dpkg itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pannikin.errors import CommandFailed, Corrupt
from pannikin.packages.deb import database, full, installed
from pannikin.packages.deb.pins import Pinned

from .making import Deb, entry, folder

TOOLS = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg is not here")


def add(root: Path, *debs: Deb, **options: object) -> full.Pending:
    pool = root.parent / "debs"
    pool.mkdir(exist_ok=True)
    root.mkdir(exist_ok=True)
    pins = {Pinned(d.name, d.version, d.architecture, "", 0, ""): d.write(pool) for d in debs}
    return full.unpack_full(root, pins, architecture="amd64", **options)  # type: ignore[arg-type]


def query(root: Path, *args: str) -> str:
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


SAME = Deb("lib", "1.0", fields={"Multi-Arch": "same"}, files={"usr/lib/l.so": b"l"},
           scripts={"triggers": b"activate-noawait ldconfig\n"})  # fmt: skip
CONF = Deb("conf", "2:1-1", files={"etc/conf.d/a": b"one\n", "usr/share/doc/conf/copyright": b"c"},
           scripts={"conffiles": b"/etc/conf.d/a\n", "postinst": b"#!/bin/sh\n"})  # fmt: skip
WATCH = Deb("watch", "1", files={"usr/bin/watch": b""},
            scripts={"triggers": b"interest-noawait /usr/share/icons\ninterest named # why\n"})  # fmt: skip


@TOOLS
def test_dpkg_reads_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    add(root, SAME, CONF)
    assert query(root, "-W", "-f", "${Package} ${Version} ${Status}\n") == (
        "conf 2:1-1 install ok unpacked\nlib 1.0 install ok unpacked\n"
    )
    assert query(root, "-L", "lib:amd64").split() == ["/.", "/usr", "/usr/lib", "/usr/lib/l.so"]
    assert query(root, "-S", "/etc/conf.d/a") == "conf: /etc/conf.d/a\n"
    assert query(root, "-W", "-f", "${Conffiles}", "conf").split() == [
        "/etc/conf.d/a", "5bbf5a52328e7439ae6e719dfe712200",
    ]  # fmt: skip
    info = root / "var/lib/dpkg/info"
    assert {path.name for path in info.iterdir()} == {
        "format", "lib:amd64.list", "lib:amd64.md5sums", "lib:amd64.triggers", "conf.list", "conf.md5sums",
        "conf.conffiles", "conf.postinst",
    }  # fmt: skip
    assert (info / "conf.postinst").stat().st_mode & 0o777 == 0o755


def test_a_second_time_adds(tmp_path: Path) -> None:
    root = tmp_path / "root"
    add(root, WATCH)
    text = (root / "var/lib/dpkg/status").read_text().replace("ok unpacked", "ok installed")
    (root / "var/lib/dpkg/status").write_text(text)
    assert [record.name for record in installed(root)] == ["watch"]
    assert database.unconfigured(root) == []
    add(root, SAME, Deb("icon", files={"usr/share/icons/i.png": b"i"}))
    assert [record.name for record in installed(root)] == ["icon", "lib", "watch"]
    assert database.unconfigured(root) == ["icon", "lib"]
    triggers = root / "var/lib/dpkg/triggers"
    assert (triggers / "File").read_text() == "/usr/share/icons watch/noawait\n"
    assert (triggers / "named").read_text() == "watch\n"
    assert (triggers / "Unincorp").read_text() == "/usr/share/icons -\n"


def test_a_file_of_the_base_is_not_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "root"
    add(root, Deb("a", files={"usr/bin/x": b"a", "usr/lib/y": b"a"}))
    with pytest.raises(Corrupt, match=r"b=1\.0 and a both have /usr/bin/x"):
        add(root, Deb("b", files={"usr/bin/x": b"b"}))
    with pytest.raises(Corrupt, match="both have /lib/y"):
        add(root, Deb("b", files={"lib/y": b"b"}))
    assert (root / "usr/bin/x").read_bytes() == b"a"


def test_packages_that_divert_are_left_to_dpkg(tmp_path: Path) -> None:
    root = tmp_path / "root"
    divert = Deb("d", files={"usr/bin/d": b"d"}, scripts={"preinst": b"#!/bin/sh\ndpkg-divert --add /usr/bin/x\n"})
    plain = Deb("p", scripts={"preinst": b"#!/bin/sh\n"})
    pending = add(root, divert, plain)
    assert not (root / "usr/bin/d").exists() and len(pending.deferred) == 1
    script = full.script(pending)
    assert "dpkg --unpack" in script and "DPKG_MAINTSCRIPT_PACKAGE=p " in script


def test_guards_are_gone_whatever_happens(tmp_path: Path) -> None:
    root = tmp_path / "root"
    pending = add(root, Deb("p", scripts={"preinst": b"#!/bin/sh\n"}))
    seen = {}

    def run(args: object, env: object) -> None:
        seen["policy"] = (root / "usr/sbin/policy-rc.d").read_text()
        seen["files"] = sorted(path.name for path in (root / full.GUARD).iterdir())
        raise CommandFailed("dpkg", status=1)

    with pytest.raises(CommandFailed):
        full.configure(root, run, pending, epoch=1)
    assert "exit 101" in seen["policy"]
    assert seen["files"] == ["000.control", "configure", "start-stop-daemon"]
    assert not (root / "usr/sbin/policy-rc.d").exists() and not (root / full.GUARD).exists()


def test_a_package_that_stays_behind_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    pending = add(root, Deb("p"))
    with pytest.raises(CommandFailed, match="left unconfigured: p"):
        full.configure(root, lambda args, env: None, pending, epoch=1)


def test_clean(tmp_path: Path) -> None:
    root = tmp_path / "root"
    add(root, Deb("p", entries=[folder("./etc/"), entry("./etc/machine-id", b"1234"), folder("./run/")]))
    for name in ("var/log/dpkg.log", "var/lib/apt/lists/x/y", "etc/resolv.conf", "var/lib/dpkg/status-old", "tmp/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "run/lock").mkdir()
    full.clean(root)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and "dpkg" not in path.parts}
    assert left == {"etc/machine-id"} and (root / "etc/machine-id").read_text() == ""
    assert (root / "run/lock").is_dir() and (root / "var/lib/apt/lists").is_dir()
    assert not (root / "var/lib/dpkg/status-old").exists()


def test_sources_by_format(tmp_path: Path) -> None:
    full.write_sources(tmp_path, ["deb http://example.org s main", "Types: deb\nURIs: http://example.org\n"])
    assert (tmp_path / "etc/apt/sources.list").read_text() == "deb http://example.org s main\n"
    assert "Types: deb" in (tmp_path / "etc/apt/sources.list.d/pannikin.sources").read_text()
