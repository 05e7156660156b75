"""COPY, ADD and WORKDIR: where things land, whose they are, what is refused. Real builds, no commands run."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pannikin.errors import NotFound, PannikinError, Unsafe, UsageError
from pannikin.toolchain import Built, Toolchain
from tests.build.conftest import Build

pytestmark = pytest.mark.root
Tree = Callable[[Built], dict[str, tarfile.TarInfo]]
FILES = {"a.txt": "a", "b.txt": "b", "d/x": "x", "d/e/y": "y", "empty": None}


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("COPY a.txt /", {"a.txt"}),
        ("COPY a.txt /new", {"new"}),
        ("COPY a.txt /new/", {"new", "new/a.txt"}),
        ("COPY a.txt b.txt /new/", {"new", "new/a.txt", "new/b.txt"}),
        ("COPY *.txt /t/", {"t", "t/a.txt", "t/b.txt"}),
        ("COPY d /", {"x", "e", "e/y"}),
        ("COPY d /n", {"n", "n/x", "n/e", "n/e/y"}),
        ("COPY d/ /n/", {"n", "n/x", "n/e", "n/e/y"}),
        ("COPY d a.txt /n/", {"n", "n/x", "n/e", "n/e/y", "n/a.txt"}),
        ("COPY d/* /n/", {"n", "n/x", "n/y"}),
        ("COPY d/e/y /p/q/r", {"p", "p/q", "p/q/r"}),
        ("COPY empty /n", {"n"}),
        ("COPY . /all", {"all", "all/a.txt", "all/b.txt", "all/d", "all/d/x", "all/d/e", "all/d/e/y", "all/empty"}),
        ("COPY ./d/../a.txt /n", {"n"}),
        ('COPY ["a.txt", "/with space"]', {"with space"}),
        ("WORKDIR /w\nCOPY a.txt .", {"w", "w/a.txt"}),
        ("WORKDIR /w\nWORKDIR v\nCOPY a.txt ./n", {"w", "w/v", "w/v/n"}),
        ("WORKDIR /w/v", {"w", "w/v"}),
        ("COPY a.txt /n/\nCOPY b.txt /n", {"n", "n/a.txt", "n/b.txt"}),
        ("COPY a.txt /n\nCOPY b.txt /n", {"n"}),
    ],
)
def test_where_things_land(build: Build, tree: Tree, line: str, paths: set[str]) -> None:
    assert set(tree(build(f"FROM scratch\n{line}", FILES))) == paths


def test_modes_owners_and_times(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    os.chown(tmp_path / "context" / "a.txt", 7, 8)
    (tmp_path / "context" / "a.txt").chmod(0o4751)
    (tmp_path / "context" / "d").chmod(0o711)
    found = tree(build("FROM scratch\nCOPY a.txt /\nCOPY --chown=5:6 --chmod=640 d /n\nCOPY --chown=9 b.txt /p/b"))
    assert (found["a.txt"].mode, found["a.txt"].uid, found["a.txt"].gid) == (0o4751, 0, 0)
    assert (found["n"].mode, found["n/e/y"].mode, found["n/e/y"].uid, found["n/e/y"].gid) == (0o640, 0o640, 5, 6)
    assert (found["p"].uid, found["p"].gid, found["p"].mode) == (9, 9, 0o755)
    assert {member.mtime for member in found.values()} == {315532801}


def test_owners_by_name_come_from_the_stage(build: Build, tree: Tree) -> None:
    files = {"passwd": "app:x:1001:1002::/:/bin/sh\n", "group": "web:x:33:\n", "f": "f"}
    lines = "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=app f /1\nCOPY --chown=app:web f /2"
    found = tree(build(lines, files))
    assert [(found[n].uid, found[n].gid) for n in ("1", "2")] == [(1001, 1002), (1001, 33)]
    with pytest.raises(NotFound, match="nobody"):
        build("FROM scratch\nCOPY --chown=nobody f /1", files)


def test_a_stage_keeps_its_owners_links_and_hard_links(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    context = tmp_path / "context"
    (context / "link").symlink_to("a.txt")
    (context / "dangling").symlink_to("nowhere")
    os.link(context / "a.txt", context / "hard")
    lines = """FROM scratch AS one
COPY --chown=3:4 . /src/
FROM scratch
COPY --from=one /src /dst
COPY --from=one /src/link /followed
COPY --from=0 /src/d/e/y /src/b.txt /two/
"""
    found = tree(build(lines))
    assert (found["dst/a.txt"].uid, found["dst/a.txt"].gid) == (3, 4)
    assert found["dst/link"].linkname == "a.txt" and found["dst/dangling"].issym()
    assert found["followed"].isreg() and found["followed"].size == 1
    assert {"two/y", "two/b.txt"} <= set(found)


def test_a_link_gives_its_name_to_the_file_it_leads_to(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    context = tmp_path / "context"
    (context / "lib.so.1").symlink_to("a.txt")
    (context / "lib.so").symlink_to("lib.so.1")
    lines = """FROM scratch AS one
COPY . /src/
FROM scratch
COPY lib.so.1 /context/
COPY li*.so* /matches/
COPY --from=one /src/lib.so.1 /stage/
COPY --from=one /src/li*.so* /stage-matches/
"""
    found = tree(build(lines))
    files = {name: member.isreg() for name, member in found.items() if "lib" in name or "a.txt" in name}
    assert files == {
        "context/lib.so.1": True, "matches/lib.so": True, "matches/lib.so.1": True,
        "stage/lib.so.1": True, "stage-matches/lib.so": True, "stage-matches/lib.so.1": True,
    }  # fmt: skip


def test_links_in_the_base_lead_the_way(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    links = tmp_path / "context" / "links"
    links.mkdir()
    (links / "bin").symlink_to("usr/bin")
    (links / "abs").symlink_to("/usr/share")
    (links / "up").symlink_to("../../../usr")
    (tmp_path / "context" / "rootfs" / "bin").mkdir(parents=True)
    (tmp_path / "context" / "rootfs" / "bin" / "tool").write_text("t")
    lines = """FROM scratch
COPY d /usr/bin
COPY d /usr/share
COPY links/ /
COPY a.txt /bin/
COPY b.txt /abs/n/
COPY b.txt /up/m
COPY rootfs /
"""
    found = tree(build(lines))
    assert found["bin"].issym() and {"usr/bin/a.txt", "usr/share/n/b.txt", "usr/m", "usr/bin/tool"} <= set(found)


def test_a_directory_of_the_base_keeps_its_mode(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    (tmp_path / "context" / "d").chmod(0o700)
    found = tree(build("FROM scratch\nCOPY --chmod=750 --chown=1:1 empty /n\nCOPY a.txt /n/\nCOPY d /n"))
    assert (found["n"].mode, found["n"].uid, found["n/a.txt"].uid) == (0o750, 1, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY nope /", "nope"),
        ("COPY nope* /", "nope"),
        ("COPY ../a.txt /", "leaves the build context"),
        ("COPY out /", "leaves the build context"),
        ("COPY abs /", "leaves the build context"),
        ("COPY through/passwd /", "leaves the build context"),
        ("COPY loop /", "loop"),
        ("COPY a.txt b.txt /n", "directory"),
        ("COPY d /n\nCOPY a.txt /n\nCOPY a.txt /n/e", None),
        ("COPY a.txt /n\nCOPY d /n", "can't put a directory over a file"),
        ("COPY d /n\nCOPY rep/x /n/", "can't put a directory over a file"),
        ("COPY a.txt /n\nCOPY b.txt /n/m", "not a directory"),
        ("COPY a.txt /n\nWORKDIR /n/m", "not a directory"),
    ],
)
def test_what_is_refused_or_not(build: Build, tmp_path: Path, line: str, message: str | None) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "out").symlink_to("../secret")
    (context / "abs").symlink_to("/etc/passwd")
    (context / "through").symlink_to("/etc")
    (context / "loop").symlink_to("loop")
    files = {**FILES, "rep/x/x/z": "z"}
    if message is None:
        build(f"FROM scratch\n{line}", files)
        return
    with pytest.raises(PannikinError) as caught:
        build(f"FROM scratch\n{line}", files)
    assert message in f"{caught.value}", str(caught.value)
    assert caught.value.where is not None


def test_ignored_files_are_not_there_and_say_so(build: Build, tree: Tree, tmp_path: Path) -> None:
    files = {**FILES, ".dockerignore": "*.txt\n!b.txt\nd/*\n!d/e/y\n", "node_modules/m/i.js": ""}
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /")
    found = set(tree(build(None, files)))  # type: ignore[arg-type]
    assert found == {
        "b.txt",
        "d",
        "d/e",
        "d/e/y",
        "empty",
        ".dockerignore",
        "Dockerfile",
        "node_modules",
        "node_modules/m",
        "node_modules/m/i.js",
    }
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a.txt /")
    with pytest.raises(NotFound) as caught:
        build(None)  # type: ignore[arg-type]
    assert "leaves it out" in caught.value.hint


def archive(*members: tuple[str, str, bytes | str], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.uid, info.mtime = 12, 86400
            if kind == "file":
                assert isinstance(content, bytes)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type = {"dir": tarfile.DIRTYPE, "sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind]
                info.linkname = str(content)
                tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_add_unpacks_archives_and_copy_does_not(build: Build, tree: Tree, mode: str) -> None:
    data = archive(("z", "file", b"z"), ("a", "dir", ""), ("a/f", "file", b"one"), ("a/f", "file", b"second"),
                   ("a/l", "sym", "../../../x"), ("a/h", "hard", "a/f"),
                   ("./b/c", "file", b"c"), mode=mode)  # fmt: skip
    files = {"t.tar": data, "plain": "no archive at all", "gz": b"\x1f\x8b not really"}
    found = tree(build("FROM scratch\nADD t.tar /n\nADD plain gz /\nCOPY t.tar /\n", files))
    assert found["n/a/f"].size == 6 and found["n/a/f"].uid == 12 and found["n/a/f"].mtime == 86400
    assert found["n/a/l"].linkname == "../../../x" and found["n/a/h"].linkname == "n/a/f" and "n/b/c" in found
    assert found["t.tar"].isreg() and found["plain"].size == 17 and found["gz"].isreg()


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", "file", b"x")],
        [("a/../../evil", "file", b"x")],
        [("l", "sym", "/etc"), ("l/passwd", "file", b"x")],
        [("l", "sym", ".."), ("l/l2", "sym", ".."), ("l/l2/evil", "file", b"x")],
        [("h", "hard", "../../etc/passwd")],
        [("f", "file", b"x"), ("f/g", "file", b"x")],
    ],
)
def test_archives_that_reach_out_are_refused(build: Build, members: list[tuple[str, str, bytes | str]]) -> None:
    with pytest.raises(Unsafe) as caught:
        build("FROM scratch\nADD t.tar /n/", {"t.tar": archive(*members)})
    assert caught.value.where is not None


def test_a_damaged_archive_is_one_error(build: Build) -> None:
    data = archive(("f", "file", b"x" * 100_000), mode="w:gz")
    with pytest.raises(PannikinError) as caught:
        build("FROM scratch\nADD t.tgz /", {"t.tgz": data[: len(data) - 20]})
    assert "t.tgz" in caught.value.what and caught.value.where is not None


def test_unchanged_means_nothing_runs_and_the_same_digest(build: Build, tmp_path: Path) -> None:
    lines = "FROM scratch AS s\nCOPY d /d\nFROM scratch\nCOPY --from=s /d/x /x\nCOPY a.txt /\nWORKDIR /w"
    first = build(lines, FILES)
    os.utime(tmp_path / "context" / "a.txt", (1, 1))
    again = build(lines)
    assert again.ran == 0 and again.image.digest == first.image.digest


def test_only_what_changed_runs(build: Build, tmp_path: Path) -> None:
    lines = "FROM scratch AS s\nCOPY d /d\nFROM scratch\nCOPY --from=s /d/x /x\nCOPY a.txt /\n"
    first = build(lines, FILES)
    (tmp_path / "context" / "d" / "e" / "y").write_text("other")
    again = build(lines)
    assert again.image.digest == first.image.digest, "what the second stage takes is the same"
    assert again.ran == 1, "COPY d alone"
    (tmp_path / "context" / "unused").write_text("new")
    assert build(lines).ran == 0


def test_the_digest_depends_on_content_alone(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        context = tmp_path / f"somewhere{number}"
        (context / "d").mkdir(parents=True)
        for name in ("z", "a", "m") if number else ("m", "z", "a"):
            (context / "d" / name).write_text(name)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY . /x\nADD d /y\nLABEL a=b\n")
        from pannikin.toolchain import BuildRequest

        digests.add(Toolchain(tmp_path / f"store{number}").build(BuildRequest(context)).image.digest)
    assert len(digests) == 1


def _change_after_hashing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pannikin.build.ops.context import ContextOp

    run = ContextOp.run

    def change(self: ContextOp, node: object, inputs: object) -> object:
        path.write_text("changed meanwhile")
        return run(self, node, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(ContextOp, "run", change)


def test_a_file_that_changes_after_it_was_hashed_is_noticed(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _change_after_hashing(tmp_path / "context" / "big", monkeypatch)
    with pytest.raises(PannikinError, match="changed during the build"):
        build("FROM scratch\nCOPY big /", {"big": "x" * 100_000})


def test_a_small_file_that_changes_after_it_was_hashed_is_copied_as_it_was_hashed(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build("FROM scratch\nCOPY a.txt /", FILES, no_cache=True).image.digest
    (tmp_path / "context" / "a.txt").unlink()
    _change_after_hashing(tmp_path / "context" / "a.txt", monkeypatch)
    assert build("FROM scratch\nCOPY a.txt /", FILES, no_cache=True).image.digest == before


def test_two_files_over_one_name_need_a_directory(build: Build) -> None:
    with pytest.raises(PannikinError):
        build("FROM scratch\nCOPY *.txt /n", FILES)
    with pytest.raises((UsageError, PannikinError)):
        build("FROM scratch\nCOPY a.txt b.txt /n", FILES)


def test_a_pipe_in_the_context_is_left_alone(build: Build, tree: Tree, tmp_path: Path) -> None:
    build("FROM scratch\nCOPY a.txt /", FILES)
    os.mkfifo(tmp_path / "context" / "pipe")
    assert "pipe" not in tree(build("FROM scratch\nCOPY . /"))
    with pytest.raises(NotFound) as caught:
        build("FROM scratch\nCOPY pipe /")
    assert "a pipe" in caught.value.hint
