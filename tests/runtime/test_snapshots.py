"""Snapshots over real overlayfs mounts."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from pannikin.errors import Corrupt, NotFound, PannikinError, Unsafe
from pannikin.oci import layer as layers
from pannikin.oci.image import Layer
from pannikin.oci.layer import Entry, LayerWriter
from pannikin.oci.model import Descriptor
from pannikin.runtime import overlay
from pannikin.runtime.snapshots import Snapshots, Writable
from pannikin.store import Store

from .conftest import Pack, tree

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("private")]
EPOCH = 1_700_000_000


def commit(work: Writable, store: Store, epoch: int = EPOCH) -> Layer | None:
    with store.upload() as upload:
        writer = LayerWriter(upload)
        if not work.capture(writer, epoch):
            return None
        layer = writer.finish()
        upload.commit(layer.descriptor.digest)
    return layer


def names(store: Store, layer: Layer) -> list[str]:
    with store.open(layer.descriptor) as stream:
        return [entry.path for entry, _ in layers.read(stream)]


def lower(pack: Pack) -> Layer:
    return pack(
        Entry("etc", "dir", 0o755, mtime=1000),
        (Entry("etc/passwd", mtime=1000), b"root:x:0:0::/root:/bin/sh\n"),
        (Entry("etc/shadow", mode=0o640, gid=42, mtime=1000), b"root:*\n"),
        Entry("etc/link", "symlink", 0o777, mtime=1000, link="passwd"),
        Entry("old", "dir", 0o755, mtime=1000),
        (Entry("old/a", mtime=1000), b"a"),
        (Entry("old/b", mtime=1000), b"b"),
        Entry("keep", "dir", 0o1777, uid=5, gid=6, mtime=1000),
        (Entry("keep/x", mtime=1000), b"x"),
        (Entry("keep/cap", mode=0o755, mtime=1000, xattrs={"user.note": b"\xff\x00", "security.capability":
            bytes.fromhex("0100000200040000000000000000000000000000")}), b"cap"),
    )  # fmt: skip


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_layer_unpacks_with_all_that_it_says(snapshots: Snapshots, pack: Pack, compression: str) -> None:
    layer = pack(
        Entry("d", "dir", 0o2750, 3, 4, 77),
        (Entry("d/f", "file", 0o4755, 1, 2, 99), b"content" * 1000),
        Entry("d/h", "hardlink", link="d/f"),
        Entry("d/s", "symlink", 0o777, 7, 8, 55, link="../../../etc/passwd"),
        Entry("d/null", "char", 0o666, 0, 0, 1, major=1, minor=3),
        Entry("d/p", "fifo", 0o600, 9, 9, 2),
        compression=compression,
    )
    (root,) = snapshots.lowers([layer])
    found = (root / "d/f").stat()
    assert (found.st_mode, found.st_uid, found.st_gid, found.st_mtime) == (stat.S_IFREG | 0o4755, 1, 2, 99)
    assert (root / "d/h").stat().st_ino == found.st_ino
    link = (root / "d/s").lstat()
    assert os.readlink(root / "d/s") == "../../../etc/passwd"
    assert (link.st_uid, link.st_gid, link.st_mtime) == (7, 8, 55)
    assert (root / "d/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "d/p").stat().st_mode)
    assert (root / "d").stat().st_mtime == 77
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o2750
    assert (root / "d/f").read_bytes() == b"content" * 1000


def test_a_layer_is_unpacked_once(snapshots: Snapshots, pack: Pack, store: Store) -> None:
    layer = lower(pack)
    (first,) = snapshots.lowers([layer])
    store.path(layer.descriptor.digest).unlink()
    assert snapshots.lowers([layer]) == [first]


def test_threads_unpack_a_layer_once_between_them(snapshots: Snapshots, pack: Pack) -> None:
    layer, found = lower(pack), []
    threads = [threading.Thread(target=lambda: found.append(snapshots.lowers([layer]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({tuple(one) for one in found}) == 1


@pytest.mark.parametrize("damage", ["diff", "digest", "size", "cut"])
def test_a_layer_that_is_not_what_its_digests_say_is_refused(
    snapshots: Snapshots, pack: Pack, store: Store, damage: str, tmp_path: Path
) -> None:
    layer, other = lower(pack), pack((Entry("x"), b"other"))
    raw = store.path(layer.descriptor.digest).read_bytes()
    descriptor = layer.descriptor
    if damage == "diff":
        layer = Layer(other.diff_id, descriptor)
    elif damage == "size":
        layer = Layer(
            layer.diff_id,
            Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size - 1),
        )
    else:
        broken = raw[: len(raw) // 2] if damage == "cut" else raw[:-1] + bytes([raw[-1] ^ 1])
        store.path(descriptor.digest).chmod(0o600)
        store.path(descriptor.digest).write_bytes(broken)
    with pytest.raises(Corrupt):
        snapshots.lowers([layer])
    assert not [path for path in (tmp_path / "snapshots").glob("*/*") if not path.name.startswith("lock-")]


def test_a_change_set_survives_capture_and_unpack(
    snapshots: Snapshots, pack: Pack, store: Store, tmp_path: Path
) -> None:
    bottom = lower(pack)
    with snapshots.writable([bottom]) as work:
        root = work.root
        assert not work.copied
        (root / "etc/passwd").write_text("changed\n")
        (root / "etc/shadow").chmod(0o600)
        (root / "old/a").unlink()
        (root / "old/b").unlink()
        (root / "old").rmdir()
        (root / "old").mkdir(mode=0o700)
        (root / "old/new").write_bytes(b"new")
        (root / "keep/x").unlink()
        os.utime(root / "keep", (1000, 1000))
        (root / "new/deep").mkdir(parents=True)
        (root / "new/one").write_bytes(b"linked")
        os.link(root / "new/one", root / "new/deep/two")
        os.setxattr(root / "new/one", "user.mark", b"\x00\xfe")
        os.symlink("/etc/passwd", root / "new/s")
        os.mkfifo(root / "new/pipe")
        os.mknod(root / "new/dev", 0o644 | stat.S_IFCHR, os.makedev(1, 5))
        (root / "new/é\udc80 name").write_bytes(b"odd name")
        os.utime(root / "new/one", (500, 500))
        merged = tree(root)
        layer = commit(work, store)
        assert layer is not None
        work.adopt(layer)
    elsewhere = Snapshots(tmp_path / "other", store)
    with elsewhere.writable([bottom, layer]) as again, snapshots.writable([bottom, layer]) as adopted:
        unpacked, kept = tree(again.root), tree(adopted.root)
    assert unpacked == kept
    assert unpacked.keys() == merged.keys()
    for path, found in unpacked.items():
        expected = list(merged[path])
        expected[3] = min(int(expected[3]) // 10**9, EPOCH) * 10**9  # type: ignore[call-overload]
        assert list(found) == expected, path
    assert unpacked["new/one"][-1] == ("new/deep/two", "new/one")
    listed = names(store, layer)
    assert "old/.wh..wh..opq" in listed
    assert "keep/.wh.x" in listed
    assert listed == sorted(listed, key=os.fsencode)
    elsewhere.close()


def test_what_is_the_same_again_is_no_change(snapshots: Snapshots, pack: Pack, store: Store) -> None:
    with snapshots.writable([lower(pack)]) as work:
        root = work.root
        (root / "etc/passwd").write_bytes((root / "etc/passwd").read_bytes())
        (root / "etc/shadow").chmod(0o600)
        (root / "etc/shadow").chmod(0o640)
        (root / "old/t").write_bytes(b"t")
        (root / "old/t").unlink()
        (root / "tmp").mkdir()
        (root / "tmp").rmdir()
        (root / "keep/x").unlink()
        (root / "keep/x").write_bytes(b"x")
        os.setxattr(root / "keep/cap", "user.note", b"\xff\x00")
        assert commit(work, store) is None


def test_only_the_changed_file_and_its_directories_are_in_the_layer(
    snapshots: Snapshots, pack: Pack, store: Store
) -> None:
    with snapshots.writable([lower(pack)]) as work:
        (work.root / "old/c").write_bytes(b"c")
        os.mknod(work.root / "old/socket", 0o600 | stat.S_IFSOCK)
        layer = commit(work, store)
    assert layer is not None
    assert names(store, layer) == ["old", "old/c"]


def test_the_same_change_gives_the_same_layer(snapshots: Snapshots, pack: Pack, store: Store) -> None:
    made = []
    for order in (("a", "b"), ("b", "a")):
        with snapshots.writable([lower(pack)]) as work:
            for name in order:
                (work.root / name).write_text(name)
            made.append(commit(work, store))
    assert made[0] == made[1]


def test_the_root_directory_itself(snapshots: Snapshots, pack: Pack, store: Store, tmp_path: Path) -> None:
    bottom = pack(Entry("", "dir", 0o711, 3, 4, 88), (Entry("f"), b"f"))
    top = pack((Entry("g"), b"g"))
    with snapshots.writable([bottom, top]) as work:
        found = work.root.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (0o711, 3, 4, 88)
        (work.root / "h").write_text("h")
        layer = commit(work, store)
    assert layer is not None
    assert names(store, layer) == ["h"]
    with snapshots.writable([bottom, top]) as work:
        work.root.chmod(0o700)
        layer = commit(work, store)
        assert layer is not None
        work.adopt(layer)
    assert names(store, layer) == [""]
    assert stat.S_IMODE(snapshots.view([bottom, top, layer]).lstat("").st_mode) == 0o700


def test_whiteouts_hide_and_later_entries_of_the_same_layer_stay(snapshots: Snapshots, pack: Pack) -> None:
    bottom = lower(pack)
    top = pack(
        Entry("etc/.wh.passwd"),
        Entry("nowhere", "dir", 0o755), Entry("nowhere/.wh.ghost"),
        Entry(".wh.old"), Entry("old", "dir", 0o755), (Entry("old/z"), b"z"),
        Entry("keep", "dir", 0o755), Entry("keep/.wh.x"), Entry("keep/.wh..wh..opq"), (Entry("keep/y"), b"y"),
    )  # fmt: skip
    view = snapshots.view([bottom, top])
    with snapshots.writable([bottom, top]) as work:
        for directory in ("", "etc", "old", "keep", "nowhere"):
            assert view.listdir(directory) == sorted(os.listdir(work.root / directory)), directory
    assert view.listdir("etc") == ["link", "shadow"]
    assert view.listdir("old") == ["z"]
    assert view.listdir("keep") == ["y"]
    assert view.listdir("nowhere") == []


def test_left_out_directories_take_the_metadata_of_the_layers_below(snapshots: Snapshots, pack: Pack) -> None:
    bottom = lower(pack)
    other = pack(Entry("keep", "dir", 0o700, 9, 9, 5))
    top = pack((Entry("keep/new/file"), b"1"), (Entry("usr/lib/x"), b"2"))
    for stack, expected in (([bottom, top], (0o1777, 5, 6)), ([other, top], (0o700, 9, 9))):
        with snapshots.writable(stack) as work:
            found = (work.root / "keep").stat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == expected
            assert stat.S_IMODE((work.root / "usr/lib").stat().st_mode) == 0o755
            assert (work.root / "keep/new/file").read_bytes() == b"1"


def test_a_symlinked_directory_below_is_followed_inside_the_root(snapshots: Snapshots, pack: Pack) -> None:
    bottom = pack(Entry("usr/lib", "dir", 0o755), Entry("lib", "symlink", link="/usr/lib"))
    top = pack((Entry("lib/x.so"), b"library"))
    with snapshots.writable([bottom, top]) as work:
        assert os.readlink(work.root / "lib") == "/usr/lib"
        assert (work.root / "usr/lib/x.so").read_bytes() == b"library"


def test_a_hard_link_to_a_file_below_copies_it_up(snapshots: Snapshots, pack: Pack) -> None:
    top = pack(Entry("etc", "dir", 0o755), Entry("etc/again", "hardlink", link="etc/shadow"))
    with snapshots.writable([lower(pack), top]) as work:
        one, two = (work.root / "etc/shadow").stat(), (work.root / "etc/again").stat()
        assert one.st_ino == two.st_ino
        assert (stat.S_IMODE(two.st_mode), two.st_gid, two.st_mtime) == (0o640, 42, 1000)
        assert (work.root / "etc/again").read_bytes() == b"root:*\n"


@pytest.mark.parametrize(
    "members",
    [
        [Entry("d", "symlink", link="/../../../../tmp"), (Entry("d/evil-pannikin"), b"x")],
        [Entry("d", "symlink", link="../../../../../../tmp"), (Entry("d/evil-pannikin"), b"x")],
        [Entry("tmp", "symlink", link="tmp"), (Entry("tmp/evil-pannikin"), b"x")],
        [Entry("h", "hardlink", link="etc/hostname")],
        [Entry("l", "symlink", link="/etc/hostname"), Entry("h", "hardlink", link="l/x")],
        [(Entry("f"), b"file"), (Entry("f/under"), b"x")],
        [Entry("", "symlink", link="/")],
    ],
)
def test_a_hostile_layer_stays_in_its_tree(
    snapshots: Snapshots, pack: Pack, tmp_path: Path, members: list[Entry]
) -> None:
    layer = pack(*members)
    try:
        (root,) = snapshots.lowers([layer])
    except (Corrupt, Unsafe):
        pass
    else:
        assert (root / "tmp/evil-pannikin").read_bytes() == b"x"
    assert not Path("/tmp/evil-pannikin").exists()


def test_a_layer_can_not_steer_overlayfs(snapshots: Snapshots, pack: Pack) -> None:
    bottom = pack(Entry("secret", "dir", 0o700), (Entry("secret/f"), b"s"))
    top = pack(
        Entry("open", "dir", 0o755, xattrs={"trusted.overlay.redirect": b"/secret", "user.overlay.opaque": b"y"}),
        Entry("dev", "char", 0o600, major=0, minor=0),
    )
    (root, _) = snapshots.lowers([bottom, top])
    assert os.listxattr(root / "open") == []
    assert not (root / "dev").exists()
    with snapshots.writable([bottom, top]) as work:
        assert os.listdir(work.root / "open") == []


def test_later_entries_replace_earlier_ones(snapshots: Snapshots, pack: Pack) -> None:
    top = pack(
        (Entry("etc"), b"now a file"),
        Entry("etc", "dir", 0o750, 1, 2, 3), (Entry("etc/f"), b"1"), (Entry("etc/f"), b"2"),
        (Entry("old/a"), b"A"), Entry("old", "dir", 0o711),
        Entry("keep", "dir", 0o755), (Entry("keep/q/r"), b""), (Entry("keep"), b"file"),
    )  # fmt: skip
    view = snapshots.view([lower(pack), top])
    assert view.listdir("etc") == ["f"]
    assert view.open("etc/f").read() == b"2"
    assert stat.S_IMODE(view.lstat("old").st_mode) == 0o711
    assert view.listdir("old") == ["a", "b"]
    assert view.open("keep").read() == b"file"


def test_the_view_is_what_the_mount_shows(snapshots: Snapshots, pack: Pack) -> None:
    stack = [
        lower(pack),
        pack(Entry("etc/.wh.shadow"), (Entry("old"), b"a file now")),
        pack(Entry("keep", "dir", 0o700), Entry("keep/.wh..wh..opq"), (Entry("keep/z/y"), b"")),
    ]
    view = snapshots.view(stack)
    with snapshots.writable(stack) as work:
        seen = sorted(str(path.relative_to(work.root)) for path in work.root.rglob("*"))
        walked = dict(view.walk())
        assert sorted(walked) == seen
        for path, status in walked.items():
            real = (work.root / path).lstat()
            assert (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns) == (
                real.st_mode, real.st_uid, real.st_size if not stat.S_ISDIR(real.st_mode) else status.st_size,
                real.st_mtime_ns,
            )  # fmt: skip


def test_the_view_follows_symlinks_inside_the_root_only(snapshots: Snapshots, pack: Pack) -> None:
    layer = pack(
        Entry("etc", "dir", 0o755), (Entry("etc/hostname"), b"inside"),
        Entry("out", "symlink", link="../../../../etc/hostname"), Entry("dir", "symlink", link="/etc"),
        Entry("a", "symlink", link="b"), Entry("b", "symlink", link="a"), Entry("gone", "symlink", link="/nothing"),
    )  # fmt: skip
    view = snapshots.view([layer])
    assert view.open("/out").read() == b"inside"
    assert view.open("dir/hostname").read() == b"inside"
    assert view.resolve("dir/../out", follow_last=False) == "out"
    assert view.readlink("out") == "../../../../etc/hostname"
    assert not view.exists("gone")
    assert view.lexists("gone")
    with pytest.raises(Unsafe):
        view.resolve("a/x")
    with pytest.raises(NotFound):
        view.lstat("dir/hostname")  # not followed
    for path in ("gone", "etc", "etc/hostname/x", "nothing"):
        with pytest.raises(NotFound):
            view.open(path)
    with pytest.raises(NotFound):
        view.listdir("dir")


def test_127_layers(snapshots: Snapshots, pack: Pack, store: Store) -> None:
    stack = [pack((Entry(f"f{number}"), b"x"), compression="none") for number in range(127)]
    with snapshots.writable(stack) as work:
        assert len(os.listdir(work.root)) == 127
        (work.root / "f0").unlink()
        layer = commit(work, store)
    assert layer is not None
    assert names(store, layer) == [".wh.f0"]


def test_no_layers_at_all(snapshots: Snapshots, store: Store) -> None:
    with snapshots.writable([]) as work:
        (work.root / "hello").write_text("x")
        layer = commit(work, store)
        assert layer is not None
        work.adopt(layer)
    assert names(store, layer) == ["hello"]
    assert snapshots.view([layer]).listdir() == ["hello"]


def test_copies_where_overlayfs_is_missing(
    snapshots: Snapshots, pack: Pack, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same changes give the same layer, mounted or copied."""

    def change(root: Path) -> None:
        (root / "old/a").unlink()
        (root / "etc/passwd").write_text("changed\n")
        (root / "made").mkdir()
        (root / "made/x").write_text("x")
        (root / "keep/cap").unlink()

    made = []
    bottom = lower(pack)
    for missing in (False, True):
        if missing:
            monkeypatch.setattr("pannikin.runtime.namespace.mount", _no_overlay)
        with snapshots.writable([bottom]) as work:
            assert work.copied == missing
            change(work.root)
            made.append(commit(work, store))
            if made[-1] is not None and missing:
                work.adopt(made[-1])
    assert made[0] == made[1]


def _no_overlay(*_: object) -> None:
    raise OSError(19, "No such device")


def test_nothing_is_left_mounted_or_on_disk(snapshots: Snapshots, pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), snapshots.writable([lower(pack)]) as work:
        assert str(work.root) in Path("/proc/self/mountinfo").read_text()
        raise RuntimeError
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not list((tmp_path / "snapshots").glob("*/temp-*"))


def test_prune_keeps_what_is_wanted_or_in_use(tmp_path: Path, pack: Pack, store: Store) -> None:
    one, two, three = (pack((Entry(name), b"x")) for name in "abc")
    stale = tmp_path / "s" / "an-earlier-boot" / "d-x"
    stale.mkdir(parents=True)
    maker, user = Snapshots(tmp_path / "s", store), Snapshots(tmp_path / "s", store)
    maker.lowers([one, two, three])
    maker.close()
    user.lowers([one])
    assert maker.prune({two.diff_id}) == 2  # the third layer and the earlier boot
    assert not stale.exists()
    assert len(list((tmp_path / "s").glob("*/d-*"))) == 2
    user.close()
    assert maker.prune(set()) == 2
    assert not list((tmp_path / "s").glob("*/d-*"))


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_not(snapshots: Snapshots, tmp_path: Path) -> None:
    home = next((tmp_path / "snapshots").iterdir())
    (home / "temp-dead" / "upper").mkdir(parents=True)
    (home / "temp-alive").mkdir()
    fd = os.open(home / "temp-alive", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert snapshots.clean() == 1
    assert (home / "temp-alive").is_dir()
    os.close(fd)
    assert snapshots.clean() == 1


def test_a_full_disk_is_one_clear_line(tmp_path: Path, pack: Pack, store: Store) -> None:
    from pannikin.runtime import namespace

    small = tmp_path / "small"
    small.mkdir()
    namespace.mount("tmpfs", str(small), "tmpfs", 0, "size=1m")
    try:
        made = Snapshots(small, store)
        with pytest.raises(PannikinError, match="no space left"):
            made.lowers([pack((Entry("big"), os.urandom(2 << 20)))])
        assert not list(small.glob("*/temp-*"))
        made.close()
    finally:
        namespace.unmount(str(small))


def test_the_overlay_predicates(tmp_path: Path) -> None:
    overlay.make_whiteout(str(tmp_path / "w"))
    assert overlay.is_whiteout((tmp_path / "w").lstat())
    assert not overlay.is_opaque(str(tmp_path))
    overlay.set_opaque(str(tmp_path))
    assert overlay.is_opaque(str(tmp_path))


@pytest.mark.parametrize("kind", ["file", "dir", "symlink"])
def test_an_owner_of_minus_one_does_not_leave_a_file_to_root(
    snapshots: Snapshots, pack: Pack, kind: layers.Kind
) -> None:
    link = "x" if kind == "symlink" else ""
    for uid, gid in ((2**32 - 1, 0), (0, 2**32 - 1)):
        with pytest.raises(Corrupt, match="no owner"):
            snapshots.lowers([pack(Entry("a", kind, 0o4755, uid, gid, link=link))])
