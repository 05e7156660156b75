"""RUN, COPY, ADD, WORKDIR: the nodes that they make, and what they refuse."""

from __future__ import annotations

import pytest

from pannikin.dockerfile.files import destination
from pannikin.errors import PannikinError, Span, SyntaxProblem, Unsafe
from pannikin.graph import Context, Copy, Image, Make, Run, Scratch
from tests.dockerfile.drawing import draw, history, layers

PATH = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def last_run(text: str, **target: object) -> Run:
    node = draw(text, **target).node.root
    assert isinstance(node, Run)
    return node


def last_copy(text: str, **target: object) -> Copy:
    node = draw(text, **target).node.root
    assert isinstance(node, Copy)
    return node


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("RUN a $B && c", ("/bin/sh", "-c", "a $B && c")),
        ('RUN ["a", "$B"]', ("a", "$B")),
        ("RUN [a]", ("/bin/sh", "-c", "[a]")),
        ("RUN a \\\n# note\n\n   b", ("/bin/sh", "-c", "a    b")),
        ('SHELL ["bash", "-ec"]\nRUN a', ("bash", "-ec", "a")),
        ("RUN 'a b'", ("/bin/sh", "-c", "'a b'")),
        ("RUN <<EOF\na\nb $c\nEOF", ("/bin/sh", "-c", "a\nb $c\n")),
        ("RUN <<-EOF\n\ta\n\tEOF", ("/bin/sh", "-c", "a\n")),
        ("RUN cat <<EOF > /x\na\nEOF", ("/bin/sh", "-c", "cat <<EOF > /x\na\nEOF")),
        ("RUN cat <<A && cat <<'B'\n1\nA\n2\nB", ("/bin/sh", "-c", "cat <<A && cat <<'B'\n1\nA\n2\nB")),
        ("RUN python3 <<EOF\nprint()\nEOF", ("/bin/sh", "-c", "python3 <<EOF\nprint()\nEOF")),
    ],
)
def test_run_arguments(text: str, args: tuple[str, ...]) -> None:
    assert last_run("FROM scratch\n" + text).args == args


def test_run_sees_env_args_user_and_directory() -> None:
    node = last_run("FROM scratch\nARG V=1\nENV A=$V B=2\nUSER u:g\nWORKDIR /w\nARG LATE=x\nRUN a\n")
    assert node.env == (PATH, ("V", "1"), ("A", "1"), ("B", "2"), ("LATE", "x"))
    assert (node.user, node.cwd, node.network) == ("u:g", "/w", "host")


def test_an_arg_reaches_only_what_comes_after_it() -> None:
    text = "FROM scratch\nRUN a\nARG V=1\nRUN b"
    one, two = (layers(draw(text, build_args={"V": v})) for v in "12")
    assert one[1].identity == two[1].identity
    assert one[2].identity != two[2].identity
    assert history(text, build_args={"V": "2"})[-1] == "RUN |1 V=2 /bin/sh -c b"


def test_an_arg_that_nobody_declares_changes_nothing() -> None:
    text = "FROM scratch\nRUN a"
    assert draw(text, build_args={"V": "1"}).node == draw(text).node


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "no_proxy", "FTP_PROXY", "ALL_PROXY"])
def test_proxies_leave_no_trace(name: str) -> None:
    text = "FROM scratch\nRUN a"
    drawn = draw(text, build_args={name: "http://127.0.0.1:1"})
    assert drawn.node == draw(text).node
    assert drawn.proxies == ((name, "http://127.0.0.1:1"),)
    assert drawn.warnings == ()


def test_a_declared_proxy_is_an_argument_like_any_other() -> None:
    node = last_run("FROM scratch\nARG HTTP_PROXY\nRUN a", build_args={"HTTP_PROXY": "x"})
    assert ("HTTP_PROXY", "x") in node.env


@pytest.mark.parametrize(
    ("flag", "given", "expected"),
    [("none", "host", "none"), ("host", "none", "host"), ("default", "none", "none"), ("default", "host", "host")],
)
def test_network(flag: str, given: str, expected: str) -> None:
    assert last_run(f"FROM scratch\nRUN --network={flag} a", network=given).network == expected


@pytest.mark.parametrize(
    ("workdir", "dest", "expected"),
    [
        ("/", "/a", "/a"),
        ("/", "a", "/a"),
        ("/w", "a", "/w/a"),
        ("/w", "a/", "/w/a/"),
        ("/w", ".", "/w/"),
        ("/w", "./", "/w/"),
        ("/", ".", "/"),
        ("/", "/", "/"),
        ("/w", "", "/w/"),
        ("/w", "..", "/"),
        ("/w/x", "../a", "/w/a"),
        ("/w", "a/.", "/w/a/"),
        ("/w", "//a//b", "/a/b"),
        ("/w", "../../..", "/"),
        ("/w", "/a/../b/", "/b/"),
    ],
)
def test_destination(workdir: str, dest: str, expected: str) -> None:
    assert destination(dest, workdir) == expected


@pytest.mark.parametrize(
    ("text", "paths", "dest", "select"),
    [
        ("COPY a b", ("a",), "/b", ("a",)),
        ("COPY a b c/", ("a", "b"), "/c/", ("a", "b")),
        ("COPY a b .", ("a", "b"), "/", ("a", "b")),
        ("COPY . .", (".",), "/", ()),
        ("COPY . /app", (".",), "/app", ()),
        ("COPY ./ /app/", (".",), "/app/", ()),
        ("COPY / /app/", (".",), "/app/", ()),
        ("COPY a . /app/", ("a", "."), "/app/", ("a", ".")),
        ("COPY /a/b/ c", ("a/b",), "/c", ("a/b",)),
        ("COPY ./a//b c", ("a/b",), "/c", ("a/b",)),
        ("COPY a/../b c", ("b",), "/c", ("b",)),
        ("COPY *.txt src/[ab]? d/", ("*.txt", "src/[ab]?"), "/d/", ("*.txt", "src/[ab]?")),
        ('COPY ["a b", "c d/"]', ("a b",), "/c d/", ("a b",)),
        ("COPY a\\ b c", None, "", ()),
        ("ENV X=q\nCOPY $X ${X:+r}/", ("q",), "/r/", ("q",)),
        ("WORKDIR /w\nCOPY a b", ("a",), "/w/b", ("a",)),
        ("WORKDIR /w\nCOPY a ./", ("a",), "/w/", ("a",)),
        ("ADD a.tar.gz /x", ("a.tar.gz",), "/x", ("a.tar.gz",)),
        ("COPY --from=debian ../../etc/x /y", ("etc/x",), "/y", None),
        ("COPY --from=debian / /y/", (".",), "/y/", None),
    ],
)
def test_copy(text: str, paths: tuple[str, ...] | None, dest: str, select: tuple[str, ...] | None) -> None:
    if paths is None:  # words split at every space in the shell form, as docker does
        with pytest.raises(PannikinError):
            draw("FROM scratch\n" + text)
        return
    node = last_copy("FROM scratch\n" + text)
    assert (node.paths, node.dest, node.unpack) == (paths, dest, "ADD" in text)
    if select is None:
        assert isinstance(node.source, Image)
    else:
        assert node.source == Context(name="context", select=select)


def test_the_ignore_list_is_part_of_the_context() -> None:
    node = draw("FROM scratch\nCOPY a b", ignore=("x", "!y")).node.root
    assert isinstance(node, Copy)
    assert isinstance(node.source, Context)
    assert node.source.ignore == ("x", "!y")


@pytest.mark.parametrize(
    ("flags", "owner", "mode"),
    [
        ("", "", None),
        ("--chown=1000", "1000", None),
        ("--chown=1000:1001", "1000:1001", None),
        ("--chown=app:grp --chmod=755", "app:grp", 0o755),
        ("--chmod=0644", "", 0o644),
        ("--chown=$U --chmod=$M", "me", 0o4755),
        ("--link=false", "", None),
    ],
)
def test_owner_and_mode(flags: str, owner: str, mode: int | None) -> None:
    node = last_copy(f"FROM scratch\nENV U=me M=4755\nCOPY {flags} a b")
    assert (node.owner, node.mode) == (owner, mode)


def test_workdir_makes_a_directory_for_its_user() -> None:
    chain = layers(draw("FROM scratch\nWORKDIR /a\nUSER u\nWORKDIR b\nWORKDIR /"))
    assert [type(node) for node in chain] == [Scratch, Make, Make]
    assert [(node.path, node.owner) for node in chain if isinstance(node, Make)] == [("/a", ""), ("/a/b", "u")]


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("COPY", 2, 1, "needs a source and a destination"),
        ("COPY a", 2, 1, "needs a source and a destination"),
        ('COPY ["a"]', 2, 1, "needs a source and a destination"),
        ("ADD a", 2, 1, "ADD needs a source"),
        ("COPY a b c", 2, 10, "several sources"),
        ("COPY $X b", 2, 6, "a source is empty"),
        ('COPY "a b" c', 2, 6, "double quote"),
        ("COPY --from= a b", 2, 6, "--from is empty"),
        ("COPY --from=$X a b", 2, 6, "takes no variables"),
        ("COPY --from=${X} a b", 2, 6, "takes no variables"),
        ("COPY --from=scratch a b", 2, 6, "nothing to copy in scratch"),
        ("COPY --from=UPPER a b", 2, 6, "not an image reference"),
        ("COPY --chown= a b", 2, 6, "--chown"),
        ("COPY --chown=$X a b", 2, 6, "--chown"),
        ("COPY --chmod=888 a b", 2, 6, "--chmod"),
        ("COPY --chmod= a b", 2, 6, "--chmod"),
        ("COPY --link=maybe a b", 2, 6, "--link"),
        ("COPY https://example.org/x y", 2, 6, "COPY takes no remote source"),
        ("RUN --network=x a", 2, 5, "--network"),
        ("COPY a \\\n  ../b c/", 3, 3, "leaves the build context"),
    ],
)
def test_errors(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(PannikinError) as caught:
        draw("FROM scratch\n" + text)
    assert what in caught.value.what
    where = caught.value.where
    assert isinstance(where, Span)
    assert (where.line, where.column) == (line, column)


@pytest.mark.parametrize("path", ["..", "../a", "a/../../b", "./../a", "/../a", "a/b/../../../c"])
def test_sources_stay_in_the_context(path: str) -> None:
    with pytest.raises(Unsafe, match="leaves the build context"):
        draw(f"FROM scratch\nCOPY {path} /x")
    with pytest.raises(Unsafe):
        draw(f'FROM scratch\nADD ["{path}", "/x"]')


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("RUN --mount=type=cache,target=/c a", 5, "RUN --mount"),
        ("RUN --network=none --security=insecure a", 20, "RUN --security"),
        ("RUN --device=x a", 5, "RUN --device"),
        ("RUN <<EOF\n#!/usr/bin/env python3\nEOF", 5, "here-document that names its interpreter"),
        ("COPY --link a b", 6, "COPY --link"),
        ("COPY --parents a b", 6, "COPY --parents"),
        ("COPY --exclude=x a b", 6, "COPY --exclude"),
        ("COPY --chmod=u+x a b", 6, "--chmod with letters"),
        ("COPY <<EOF /x\nEOF", 6, "COPY with a here-document"),
        ("ADD --checksum=sha256:x a b", 5, "ADD --checksum"),
        ("ADD --keep-git-dir=true a b", 5, "ADD --keep-git-dir"),
        ("ADD --unpack=false a b", 5, "ADD --unpack"),
        ("ADD https://example.org/x /", 5, "ADD of a remote source"),
        ("ADD git@example.org:a/b.git /", 5, "ADD of a remote source"),
        ("ADD ssh://git@example.org/a /", 5, "ADD of a remote source"),
        ("ONBUILD RUN <<EOF\na\nEOF", 13, "ONBUILD with a here-document"),
    ],
)
def test_what_comes_later_says_so(text: str, column: int, what: str) -> None:
    with pytest.raises(SyntaxProblem, match="is not supported yet") as caught:
        draw("FROM scratch\n" + text)
    assert what in caught.value.what
    assert isinstance(caught.value.where, Span)
    assert (caught.value.where.line, caught.value.where.column) == (2, column)
