"""Bad input: one clear line that says where and what, the right exit code, nothing left behind."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.conftest import Cli

FAILED, USAGE = 1, 2


class Bench:
    """A context to spoil and a store to spoil it with."""

    def __init__(self, cli: Cli, context: Path) -> None:
        self.cli = cli
        self.context = context

    def dockerfile(self, *lines: str) -> None:
        (self.context / "Dockerfile").write_text("\n".join(lines) + "\n")

    def build_fails(self, *arguments: str | Path, code: int = FAILED, env: dict[str, str] | None = None) -> str:
        """What a build that must fail says on stderr, its progress left out."""
        return self.fails("build", "--progress", "quiet", "-t", "spoilt", *arguments, self.context, code=code, env=env)

    def fails(self, *arguments: str | Path, code: int = FAILED, env: dict[str, str] | None = None) -> str:
        done = self.cli.run(*arguments, env=env)
        assert done.returncode == code, f"{done.returncode}: {done.stderr}"
        _is_clear(done.stderr)
        self.whole()
        return done.stderr

    def whole(self) -> None:
        """Nothing was left behind: no unfinished file, no snapshot under work, no image of that name."""
        root = self.cli.root
        if not root.exists():
            return
        assert list((root / "tmp").iterdir()) == []
        assert list((root / "leases").iterdir()) == []
        assert [p.name for p in (root / "snapshots").rglob("*") if p.name.startswith(("work-", "tmp-"))] == []
        assert "spoilt" not in (root / "index.json").read_text()


def _is_clear(text: str) -> None:
    """One line that says what is wrong, before the source line, the output and the hint."""
    lines = text.rstrip("\n").split("\n")
    assert "Traceback" not in text and "this is a bug" not in text, text
    assert lines[0].startswith("pannikin: "), text
    assert 20 < len(lines[0]) < 400, text
    assert all(line.startswith((" ", "   | ", "  hint: ")) for line in lines[1:]), text


@pytest.fixture
def bench(cli: Cli, tmp_path: Path) -> Bench:
    context = tmp_path / "context"
    context.mkdir()
    (context / "app.py").write_text("print('hello')\n")
    return Bench(cli, context)


# Dockerfiles


def test_unknown_instruction(bench: Bench) -> None:
    bench.dockerfile("FROM scratch", "COPPY app.py /", "CMD x")
    said = bench.build_fails()
    assert "Dockerfile:2:1: " in said
    assert "COPPY" in said.split("\n")[0]
    assert " 2 | COPPY app.py /\n   | ^^^^^" in said
    assert "COPY" in said.split("hint:")[1]


def test_missing_stage(bench: Bench) -> None:
    bench.dockerfile("FROM scratch AS build", "COPY app.py /", "FROM scratch", "COPY --from=biuld /app.py /")
    said = bench.build_fails()
    assert "Dockerfile:4" in said and "biuld" in said
    assert "build" in said.split("hint:")[1]


def test_missing_target(bench: Bench) -> None:
    bench.dockerfile("FROM scratch AS build", "COPY app.py /")
    said = bench.build_fails("--target", "test")
    assert "'test'" in said.split("\n")[0] and "build" in said.split("hint:")[1]


def test_unknown_base(bench: Bench) -> None:
    bench.dockerfile("FROM debian:none", "COPY app.py /")
    said = bench.build_fails()
    assert "Dockerfile:1" in said and "debian:none" in said and "pannikin base" in said


def test_source_that_is_not_there(bench: Bench) -> None:
    bench.dockerfile("FROM scratch", "COPY ap.py /")
    said = bench.build_fails()
    assert "Dockerfile:2" in said and "'ap.py'" in said and "app.py" in said.split("hint:")[1]


def test_pattern_that_matches_nothing(bench: Bench) -> None:
    bench.dockerfile("FROM scratch", "COPY *.js /")
    assert "no file matches '*.js'" in bench.build_fails()


def test_source_that_the_ignore_file_leaves_out(bench: Bench) -> None:
    (bench.context / ".dockerignore").write_text("app.py\n")
    bench.dockerfile("FROM scratch", "COPY app.py /")
    assert ".dockerignore" in bench.build_fails()


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\x7fELF\x02\x01\x00\xff\xfe", b"FROM scratch\n\x00\n"])
def test_not_a_dockerfile(bench: Bench, content: bytes) -> None:
    (bench.context / "Dockerfile").write_bytes(content)
    done = bench.cli.run("build", "--progress", "quiet", "-t", "spoilt", bench.context)
    assert done.returncode in (FAILED, USAGE)
    _is_clear(done.stderr)
    assert "Dockerfile" in done.stderr
    bench.whole()


def test_dockerfile_is_a_directory(bench: Bench) -> None:
    (bench.context / "Dockerfile").mkdir()
    assert "directory" in bench.build_fails("-f", bench.context / "Dockerfile")


def test_no_dockerfile(bench: Bench) -> None:
    assert "no Dockerfile" in bench.build_fails()


def test_context_is_no_directory(bench: Bench) -> None:
    said = bench.fails("build", bench.context / "app.py")
    assert "not a directory" in said
    assert "not a directory" in bench.fails("build", bench.context / "none")


def test_wrong_option(bench: Bench) -> None:
    done = bench.cli.run("build", "--memory", "lots", bench.context)
    assert done.returncode == USAGE
    _is_clear(done.stderr)


# What leaves the context


def test_dots_do_not_leave_the_context(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    bench.dockerfile("FROM scratch", "COPY ../secret /secret")
    said = bench.build_fails()
    assert "Dockerfile:2:6" in said and "leaves the build context: ../secret" in said


def _relative(context: Path) -> str:
    (context / "link").symlink_to("../secret")
    return "link"


def _absolute(context: Path) -> str:
    (context / "link").symlink_to(context.parent / "secret")
    return "link"


def _nested(context: Path) -> str:
    (context / "a").mkdir()
    (context / "a" / "one").symlink_to("../two")
    (context / "two").symlink_to("a/../../secret")
    return "a/one"


def _through_directory(context: Path) -> str:
    (context / "up").symlink_to("..")
    return "up/secret"


def _loop(context: Path) -> str:
    (context / "a").symlink_to("b")
    (context / "b").symlink_to("a")
    return "a"


@pytest.mark.parametrize("spoil", [_relative, _absolute, _nested, _through_directory, _loop])
def test_links_do_not_leave_the_context(bench: Bench, tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    (tmp_path / "secret").write_text("outside")
    bench.dockerfile("FROM scratch", f"COPY {spoil(bench.context)} /secret")
    said = bench.build_fails()
    assert "Dockerfile:2" in said and "symbolic link" in said


def test_links_inside_a_copied_directory_stay_links(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    (bench.context / "d").mkdir()
    (bench.context / "d" / "link").symlink_to("../../secret")
    bench.dockerfile("FROM scratch", "COPY d /d")
    bench.cli.build(bench.context, "-o", f"type=tar,dest={tmp_path / 'out.tar'}")
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.getmember("d/link").linkname == "../../secret"


@pytest.mark.root
def test_unreadable_file(bench: Bench) -> None:
    """Seen by a root that has lost its right to read everything."""
    bench.dockerfile("FROM scratch", "COPY app.py /")
    (bench.context / "app.py").chmod(0)
    lost = "-dac_override,-dac_read_search"
    done = subprocess.run(
        ["setpriv", f"--inh-caps={lost}", f"--bounding-set={lost}",
         *bench.cli.args("build", "--progress", "quiet", "-t", "spoilt", bench.context)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == FAILED, done.stderr
    _is_clear(done.stderr)
    assert "can't read 'app.py' of the build context: permission denied" in done.stderr
    bench.whole()


# Archives


def _archive(path: Path, *members: tuple[str, bytes, str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            data = b"evil" if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ([("../evil", tarfile.REGTYPE, "")], "../evil"),
        ([("a/../../evil", tarfile.REGTYPE, "")], "a/../../evil"),
        ([("link", tarfile.SYMTYPE, "/etc"), ("link/evil", tarfile.REGTYPE, "")], "link"),
        ([("link", tarfile.SYMTYPE, "../.."), ("link/evil", tarfile.REGTYPE, "")], "link"),
        ([("hard", tarfile.LNKTYPE, "../../etc/passwd")], "../../etc/passwd"),
        ([("dev", tarfile.BLKTYPE, "")], "dev"),
    ],
)
def test_archives_that_leave_their_root(bench: Bench, members: list[tuple[str, bytes, str]], word: str) -> None:
    _archive(bench.context / "evil.tar", *members)
    bench.dockerfile("FROM scratch", "ADD evil.tar /in/")
    said = bench.build_fails()
    assert "Dockerfile:2" in said and "evil.tar" in said and word in said


def test_absolute_names_in_an_archive_stay_inside(bench: Bench, tmp_path: Path) -> None:
    _archive(bench.context / "absolute.tar", ("/etc/evil", tarfile.REGTYPE, ""), ("out", tarfile.SYMTYPE, "/etc/evil"))
    bench.dockerfile("FROM scratch", "ADD absolute.tar /in/")
    bench.cli.build(bench.context, "-o", f"type=tar,dest={tmp_path / 'out.tar'}")
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert {"in/etc/evil", "in/out"} <= set(archive.getnames())
    assert not Path("/etc/evil").exists()


def test_archive_cut_off(bench: Bench) -> None:
    _archive(bench.context / "whole.tar", *[(f"{n}", tarfile.REGTYPE, "") for n in range(50)])
    whole = (bench.context / "whole.tar").read_bytes()
    (bench.context / "cut.tar").write_bytes(whole[:5_000])
    bench.dockerfile("FROM scratch", "ADD cut.tar /in/")
    assert "cut.tar" in bench.build_fails()


@pytest.mark.parametrize("data", [b"", b"not an archive at all\n" * 100])
def test_load_what_is_no_archive(bench: Bench, data: bytes) -> None:
    (bench.context / "x.tar").write_bytes(data)
    assert "x.tar" in bench.fails("load", "-i", bench.context / "x.tar")


def test_load_what_is_not_there(bench: Bench) -> None:
    assert "none.tar" in bench.fails("load", "-i", bench.context / "none.tar", code=USAGE)


# Damaged stores


def _built(bench: Bench) -> Path:
    """An image `made` in the store; its layer's blob."""
    bench.dockerfile("FROM scratch", "COPY app.py /")
    bench.cli.build(bench.context, "-t", "made")
    blobs = sorted((bench.cli.root / "blobs" / "sha256").iterdir(), key=lambda p: p.read_bytes()[:2] == b"\x1f\x8b")
    return blobs[-1]


def test_corrupt_blob(bench: Bench, tmp_path: Path) -> None:
    layer = _built(bench)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 0xFF
    layer.write_bytes(data)
    done = bench.cli.run("store", "check")
    assert done.returncode == FAILED and layer.name[:12] in done.stdout + done.stderr
    said = bench.fails("save", "--progress", "quiet", "--format", "oci", "-o", tmp_path / "out.tar", "made")
    assert layer.name[:12] in said
    assert not (tmp_path / "out.tar").exists()
    bench.dockerfile("FROM made", "COPY --from=made /app.py /again.py")
    said = bench.build_fails()
    assert "Dockerfile:2" in said and f"layer {layer.name[:12]}" in said and "store check" in said


def test_truncated_layer(bench: Bench, tmp_path: Path) -> None:
    layer = _built(bench)
    layer.write_bytes(layer.read_bytes()[:-20])
    done = bench.cli.run("store", "check")
    assert done.returncode == FAILED and layer.name[:12] in done.stdout + done.stderr
    bench.fails("save", "--progress", "quiet", "-o", tmp_path / "out.tar", "made")
    assert not (tmp_path / "out.tar").exists()
    bench.dockerfile("FROM made", "COPY --from=made /app.py /again.py")
    bench.build_fails()


def test_missing_layer_of_a_base(bench: Bench) -> None:
    layer = _built(bench)
    layer.unlink()
    bench.dockerfile("FROM made", "COPY --from=made /app.py /again.py")
    said = bench.build_fails()
    assert layer.name[:12] in said and "Dockerfile:" in said


# What is missing around us


@pytest.mark.root
@pytest.mark.parametrize("size", ["512k", "3m"])
def test_full_disk(bench: Bench, tmp_path: Path, size: str) -> None:
    """A small tmpfs as the store, in a mount namespace that ends with the command."""
    (bench.context / "big").write_bytes(os.urandom(8 << 20))
    bench.dockerfile("FROM scratch", "COPY big /")
    root = bench.cli.root
    root.mkdir()
    after = tmp_path / "after"
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2"; shift 2; "$@"; code=$?; ls -R "$root/tmp" > "$after"; exit $code'
    build = bench.cli.args("build", "--progress", "quiet", bench.context)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", size, str(root), *build],
        capture_output=True, text=True, check=False, env={**os.environ, "root": str(root), "after": str(after)},
    )  # fmt: skip
    assert done.returncode == FAILED, done.stderr
    _is_clear(done.stderr)
    assert "no space left on device" in done.stderr.lower()
    assert "prune" in done.stderr
    assert after.read_text().split() == [f"{root}/tmp:"]


@pytest.mark.root
@pytest.mark.network
@pytest.mark.slow
def test_no_runtime(bench: Bench, with_debian: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    bench.dockerfile("FROM debian:test", "RUN true")
    said = bench.build_fails(env={"PATH": str(empty)})
    assert "Dockerfile:2" in said and "crun" in said and "install" in said.split("hint:")[1]


@pytest.mark.root
@pytest.mark.network
@pytest.mark.slow
def test_failing_command(bench: Bench, with_debian: Cli) -> None:
    bench.dockerfile("FROM debian:test", "WORKDIR /srv", "RUN echo working && echo broken >&2 && exit 23")
    said = bench.build_fails()
    first = said.split("\n")[0]
    assert "Dockerfile:3:1" in first and "exit code 23" in first
    assert "echo working && echo broken >&2 && exit 23" in first
    assert "   | working\n" in said and "   | broken" in said


def test_no_mirror(bench: Bench) -> None:
    mirror = ("--mirror", "http://127.0.0.1:9/", "--suite", "x")
    said = bench.fails("base", "--progress", "quiet", *mirror, "-t", "spoilt", "y")
    assert "127.0.0.1:9" in said


@pytest.mark.network
def test_unknown_package(bench: Bench) -> None:
    said = bench.fails("base", "--progress", "quiet", "--mode", "distroless", "-t", "spoilt", "no-such-package-here")
    assert "no-such-package-here" in said.split("\n")[0]


def test_store_that_is_a_file(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    done = Cli(path).run("images")
    assert done.returncode in (FAILED, USAGE) and "Traceback" not in done.stderr and str(path) in done.stderr


def test_unknown_image(bench: Bench, tmp_path: Path) -> None:
    for arguments in (["inspect", "none"], ["run", "none"], ["rmi", "none"], ["tag", "none", "b"], ["history", "none"]):
        assert "none" in bench.fails(*arguments)
    assert "none" in bench.fails("save", "--progress", "quiet", "-o", tmp_path / "o.tar", "none")
    assert not (tmp_path / "o.tar").exists()


def test_no_sockets_or_fifos_hang_a_build(bench: Bench) -> None:
    """A named pipe in the context is passed over, not opened."""
    os.mkfifo(bench.context / "pipe")
    bench.dockerfile("FROM scratch", "COPY . /")
    assert bench.cli.build(bench.context).startswith("sha256:")
