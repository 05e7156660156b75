"""Unpacking: what a package holds arrives as it is, and nothing ever lands outside the root."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest

from pannikin.errors import Corrupt, PannikinError, Unsafe, UsageError
from pannikin.packages.deb import filters, newest
from pannikin.packages.deb.debfile import Deb as DebFile
from pannikin.packages.deb.debfile import members
from pannikin.packages.deb.unpack import Root, Unpacked, merge_usr, unpack

from .making import EPOCH, Deb, ar, entry, folder, link, tar


def keep(_: str) -> bool:
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def put(root: Path, *debs: Deb, drop: tuple[str, ...] = ()) -> list[Unpacked]:
    pool = root.parent / "debs"
    pool.mkdir(exist_ok=True)
    files = [(f"{deb.name}={deb.version}", deb.write(pool)) for deb in debs]
    return unpack(Root(root), files, filters.dropper(drop))


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_every_compression(root: Path, suffix: str) -> None:
    content = os.urandom(1000) * 1500
    put(root, Deb("a", files={"usr/bin/a": content, "empty": b""}, suffix=suffix))
    assert (root / "usr/bin/a").read_bytes() == content
    assert (root / "empty").stat().st_size == 0


def test_modes_owners_times_and_links(root: Path) -> None:
    entries = [
        folder("./tmp/", 0o1777), folder("./usr/"), folder("./usr/bin/"),
        entry("./usr/bin/su", b"x", mode=0o4755, uid=0, gid=42, mtime=EPOCH - 7),
        link("./usr/bin/hard", "./usr/bin/su", tarfile.LNKTYPE),
        link("./usr/bin/soft", "su"), link("./usr/bin/absolute", "/etc/anything"),
        entry("./" + "d" * 90 + "/" + "n" * 150, b"long"), entry("./fifo", type=tarfile.FIFOTYPE, mode=0o600),
    ]  # fmt: skip
    [one] = put(root, Deb("a", entries=entries))
    su = os.lstat(root / "usr/bin/su")
    assert stat.S_IMODE(su.st_mode) == 0o4755 and su.st_mtime == EPOCH - 7 and su.st_nlink == 2
    assert os.lstat(root / "usr/bin/hard").st_ino == su.st_ino
    assert os.readlink(root / "usr/bin/soft") == "su" and os.readlink(root / "usr/bin/absolute") == "/etc/anything"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert (root / ("d" * 90) / ("n" * 150)).read_bytes() == b"long"
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert one.newest == EPOCH - 7 or one.newest == EPOCH - 100 or one.newest > 0
    assert (root / "usr").stat().st_mtime == EPOCH - 100
    if os.geteuid() == 0:
        assert (su.st_uid, su.st_gid) == (0, 42)


def test_merged_usr(root: Path) -> None:
    merge_usr(Root(root), "amd64")
    put(root, Deb("a", files={"lib/x86/a.so": b"a", "usr/lib/x86/b.so": b"b", "bin/sh": b"sh"}))
    assert (root / "lib").is_symlink() and (root / "bin").is_symlink()
    assert sorted(path.name for path in (root / "usr/lib/x86").iterdir()) == ["a.so", "b.so"]
    assert (root / "usr/bin/sh").read_bytes() == b"sh"


def test_absolute_links_are_followed_inside_the_root(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "var").mkdir()
    (root / "var/run").symlink_to(str(outside))
    (root / "up").symlink_to("../../../../../")
    put(root, Deb("a", files={"var/run/pid": b"1", "up/escaped": b"2"}))
    assert not list(outside.iterdir())
    assert (root / str(outside).lstrip("/") / "pid").read_bytes() == b"1"
    assert (root / "escaped").read_bytes() == b"2"


HOSTILE = {
    "dotdot": [entry("./../evil", b"x")],
    "dotdot inside": [folder("./a/"), entry("./a/../../evil", b"x")],
    "absolute": [entry("/evil", b"x")],
    "absolute directory": [folder("/evil/")],
    "directory dotdot": [folder("./../evil/")],
    "symlink then file through it": [link("./a", "OUTSIDE"), entry("./a/evil", b"x")],
    "relative symlink then file": [link("./a", "../outside"), entry("./a/evil", b"x")],
    "symlink then directory through it": [link("./a", "OUTSIDE"), folder("./a/evil/")],
    "file over a symlink": [link("./a", "OUTSIDE/evil"), entry("./a", b"x")],
    "hard link to the host": [link("./a", "/etc/passwd", tarfile.LNKTYPE)],
    "hard link up": [link("./a", "../../outside/secret", tarfile.LNKTYPE)],
    "hard link through a symlink": [link("./d", "OUTSIDE"), link("./a", "d/secret", tarfile.LNKTYPE)],
    "hard link to a symlink": [link("./d", "OUTSIDE/secret"), link("./a", "./d", tarfile.LNKTYPE), entry("./a", b"x")],
    "device": [entry("./null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "symlink loop": [link("./a", "b"), link("./b", "a"), entry("./a/x", b"x")],
    "file below a file": [entry("./a", b"x"), entry("./a/b", b"x")],
    "file over a directory": [folder("./a/"), entry("./a", b"x")],
    "empty name": [entry("./", b"x"), entry(".", b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(root: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    entries = []
    for info, content in HOSTILE[name]:
        info = tarfile.TarInfo.frombuf(info.tobuf(tarfile.GNU_FORMAT), "utf-8", "surrogateescape")
        info.linkname = info.linkname.replace("OUTSIDE", str(outside))
        entries.append((info, content))
    before = sorted(path for path in tmp_path.rglob("*") if root not in path.parents and path.name != "debs")
    try:
        put(root, Deb("evil", entries=entries))
    except PannikinError as error:
        assert isinstance(error, Unsafe) or name == "empty name", error
    after = sorted(p for p in tmp_path.rglob("*") if root not in p.parents and "debs" not in p.parts)
    assert after == before
    assert (outside / "secret").read_text() == "secret" and (outside / "secret").stat().st_nlink == 1
    assert os.stat("/etc/passwd").st_nlink == 1


REFUSED = [
    name for name in HOSTILE if any(word in name for word in ("dotdot", "hard link to the host", "link up", "device"))
]


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(Unsafe):
        put(root, Deb("evil", entries=HOSTILE[name]))


def test_cut_off_anywhere(tmp_path: Path) -> None:
    raw = Deb("a", files={"usr/bin/a": os.urandom(3000)}).bytes()
    path = tmp_path / "cut.deb"
    for size in range(0, len(raw) - 1, 61):
        path.write_bytes(raw[:size])
        with pytest.raises(PannikinError), DebFile(path) as deb:
            deb.control()
            stream = deb.data()
            for member in members(stream):
                stream.exactly(member.size)


def test_damaged_anywhere_is_an_error_of_ours_or_harmless(tmp_path: Path) -> None:
    raw = Deb("a", files={"usr/bin/a": b"hello" * 100}, suffix="").bytes()
    path = tmp_path / "bad.deb"
    root = tmp_path / "r"
    for at in range(0, len(raw), 37):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        root.mkdir(exist_ok=True)
        try:
            unpack(Root(root), [("a", path)], keep)
        except PannikinError as error:
            assert isinstance(error, Corrupt | Unsafe), error


def test_not_a_package(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(Corrupt, match="not a Debian package"):
        DebFile(path)
    path.write_bytes(ar({"debian-binary": b"2.0\n", "data.tar": tar([])}))
    with DebFile(path) as deb, pytest.raises(Corrupt, match=r"no control\.tar"):
        deb.control()


def test_two_packages_with_one_file(root: Path) -> None:
    first, second = Deb("a", files={"usr/x": b"a"}), Deb("b", files={"usr/x": b"b"})
    with pytest.raises(Corrupt, match="both have /usr/x"):
        put(root, first, second)


def test_same_file_where_replaces_says_so(root: Path) -> None:
    for number in range(20):
        place = root / str(number)
        place.mkdir()
        first = Deb("a", files={"usr/x": b"a"})
        second = Deb("b", files={"usr/x": b"b"}, fields={"Replaces": "a (<< 2)"})
        put(place, first, second)
        assert (place / "usr/x").read_bytes() == b"b", "whichever thread came first"


def test_directory_modes_do_not_depend_on_threads(root: Path) -> None:
    debs = [Deb("base-files", entries=[folder("./srv/", 0o700)])]
    debs += [Deb(f"p{n}", entries=[folder("./srv/", 0o755), entry(f"./srv/{n}", b"x" * n * 1000)]) for n in range(8)]
    put(root, *debs)
    assert stat.S_IMODE((root / "srv").stat().st_mode) == 0o700
    assert (root / "srv").stat().st_mtime == EPOCH - 100


def test_a_directory_that_was_there_is_left_alone(root: Path) -> None:
    (root / "opt").mkdir(mode=0o711)
    os.utime(root / "opt", (5, 5))
    put(root, Deb("a", entries=[folder("./opt/", 0o755), folder("./opt/new/", 0o700)]))
    assert stat.S_IMODE((root / "opt").stat().st_mode) == 0o711
    assert stat.S_IMODE((root / "opt/new").stat().st_mode) == 0o700


def test_drop(root: Path) -> None:
    files = {
        "usr/share/doc/a/copyright": b"c", "usr/share/doc/a/changelog.gz": b"x", "usr/share/man/man1/a.1.gz": b"x",
        "usr/share/locale/de/LC_MESSAGES/a.mo": b"x", "usr/share/locale/locale.alias": b"x", "usr/bin/a": b"x",
        "usr/lib/locale/C.utf8/LC_CTYPE": b"x", "usr/share/zoneinfo/right/UTC": b"x", "usr/share/zoneinfo/UTC": b"x",
        "usr/lib/x86_64-linux-gnu/gconv/EUC-JP.so": b"x", "usr/share/lintian/overrides/a": b"x",
    }  # fmt: skip
    [one] = put(root, Deb("a", files=files), drop=tuple(filters.KINDS))
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert there == {
        "usr/share/doc/a/copyright", "usr/share/locale/locale.alias", "usr/bin/a", "usr/lib/locale/C.utf8/LC_CTYPE",
        "usr/share/zoneinfo/UTC",
    }  # fmt: skip
    assert set(files) <= set(one.paths) and one.dropped & set(files) == set(files) - there
    with pytest.raises(UsageError, match="can't drop"):
        filters.dropper(["everything"])


def test_a_documentation_link_keeps_its_licence(root: Path) -> None:
    put(root, Deb("a", entries=[folder("./usr/"), folder("./usr/share/"), folder("./usr/share/doc/"),
                                link("./usr/share/doc/a", "b")]), drop=("docs",))  # fmt: skip
    assert (root / "usr/share/doc/a").is_symlink()


def test_newest_bounds_every_member(tmp_path: Path) -> None:
    path = Deb("a", files={"x": b"x"}).write(tmp_path)
    assert newest([path]) == EPOCH
    assert newest([]) == 0
