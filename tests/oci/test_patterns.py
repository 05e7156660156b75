"""Path patterns against tables of known answers, and the ignore matcher against a slow, naive reading of the rules."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannikin.errors import SyntaxProblem
from pannikin.oci import patterns
from pannikin.oci.patterns import NOTHING, Matcher


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*", "a/b", False),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "ab", False),
        ("a?b", "aßb", True),
        ("a[^a]b", "aßb", True),
        ("a???b", "aßb", False),
        ("[a-ö]*", "é", True),
        ("*[a-ö]", "A", False),
        ("a?b", "a/b", False),
        (r"[\]a]", "]", True),
        (r"[\-]", "-", True),
        (r"[x\-]", "x", True),
        (r"[\-x]", "a", False),
        ("*x", "xxx", True),
        ("a.c", "abc", False),
        ("a+", "aa", False),
        ("(a|b)", "a", False),
        ("[c-a]", "b", False),
        ("[!a]", "!", True),
        ("", "", True),
        ("", "a", False),
        ("**", "ab", True),
        ("**", "a/b", False),
        ("a\nb*", "a\nbc", True),
    ],
)
def test_match_is_go_filepath_match(pattern: str, path: str, expected: bool) -> None:
    assert patterns.match(pattern, path) is expected


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]", "[\\"])
def test_malformed_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(SyntaxProblem):
        patterns.match(pattern, "a")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  foo/  ", "foo"),
        ("/foo", "foo"),
        ("//foo//bar/", "foo/bar"),
        ("./foo", "foo"),
        ("foo/../bar", "bar"),
        ("!/foo", "!foo"),
        ("! foo", "!foo"),
        ("", ""),
        ("   ", ""),
        (".", "."),
        ("/", "/"),
        ("**/*.go/", "**/*.go"),
        (r"a\ b", r"a\ b"),
    ],
)
def test_clean(line: str, expected: str) -> None:
    assert patterns.clean(line) == expected


@pytest.mark.parametrize("line", ["!", "  !  ", "[", "!a[", "a\\"])
def test_clean_refuses(line: str) -> None:
    with pytest.raises(SyntaxProblem):
        patterns.clean(line)


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        (["**"], "file", True),
        (["**"], "file/", True),
        (["**/"], "file", True),
        (["**"], "dir/file", True),
        (["**/**"], "dir/file", True),
        (["dir/**"], "dir/file", True),
        (["dir/**"], "dir/dir2/file", True),
        (["dir/**"], "dir", False),
        (["dir/**"], "dirx/file", False),
        (["**/dir"], "dir/file", True),
        (["**/dir"], "a/dir/file", True),
        (["**/dir/*"], "a/dir/file", True),
        (["**/dir/**"], "dir/dir2/file", True),
        (["**/file"], "dir/dir/file", True),
        (["**/file*"], "dir/dir/file.txt", True),
        (["**/file*txt"], "dir/dir/file.txt", True),
        (["**/file*.txt*"], "dir/dir/file.txtx", True),
        (["**file"], "dir/afile", True),
        (["**file"], "file", True),
        (["**/**/*.txt"], "dir/file.txt", True),
        (["**/**/*.txt"], "dir/file2.txt2", False),
        (["a**/*.txt"], "a/file.txt", True),
        (["a**/*.txt"], "a/dir/file.txt", True),
        (["a/*.txt"], "a/dir/file.txt", False),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a[b-d]e"], "ace", True),
        (["a[b-d]e"], "aee", False),
        (["a[^b-d]e"], "aze", True),
        ([r"a\*"], "a*", True),
        ([r"a\*"], "ab", False),
        (["a.|)$(}+{bc"], "a.|)$(}+{bc", True),
        (["dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"],
         "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", True),
        (["node_modules"], "node_modules/a/b.js", True),
        (["node_modules"], "src/node_modules", False),
        (["**/node_modules"], "src/node_modules/x", True),
        ([".git"], ".github/workflows", False),
        (["*.md"], "README.md", True),
        (["*.md"], "docs/README.md", False),
        (["*"], "a/b/c", True),
        (["*", "!a"], "a/b/c", False),
        (["*", "!a/b"], "a/b/c", False),
        (["*", "!a/b"], "a/x", True),
        (["*", "!*.go"], "main.go", False),
        (["*", "!**/*.go"], "cmd/x/main.go", False),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md", "README.md"], "README.md", True),
        (["!README.md", "*.md"], "README.md", True),
        (["a", "!a/b", "a/b/c"], "a/b/c/d", True),
        (["."], "a", False),
        (["/"], "a", False),
        (["../a"], "a", False),
        (["/a"], "a", True),
        (["a/"], "a/b", True),
        ([], "a", False),
        (["*/*"], "a", False),
        (["*/*"], "a/b/c", True),
        (["a?"], "ab", True),
        (["?"], "a/b", True),
        (["**/*.pyc", "**/__pycache__"], "x/__pycache__/m.txt", True),
        (["util/docker/web"], "util/docker/web/foo", True),
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs", "!docs/README.md"], "docs/other.md", True),
    ],
)  # fmt: skip
def test_ignore_list(lines: list[str], path: str, expected: bool) -> None:
    assert Matcher(lines).excluded(path.rstrip("/")) is expected


@pytest.mark.parametrize(
    ("lines", "directory", "expected"),
    [
        (["a"], "a", False),
        (["a", "!a/b"], "a", True),
        (["a", "!b/c"], "a", False),
        (["a", "!a"], "a", False),
        (["*", "!**/*.go"], "deep/down", True),
        (["*", "!a/*/c"], "a", True),
        (["*", "!a/*/c"], "a/x", True),
        (["*", "!a/*/c"], "b", False),
        (["!a/b", "*"], "a", False),
        (["x", "![ab]/c"], "b", True),
    ],
)
def test_pruning(lines: list[str], directory: str, expected: bool) -> None:
    matcher = Matcher(lines)
    state = matcher.visit(directory)
    assert matcher.may_reinclude_below(directory, state) is expected
    assert matcher.may_reinclude_below(directory) or not expected


def _naive(lines: list[str], path: str) -> bool:
    """The rules read aloud: every pattern against the path and all its parents; the last that matches decides."""
    excluded = False
    parts = path.split("/")
    ways = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for line in map(patterns.clean, lines):
        body = line.removeprefix("!")
        if any(_naive_one(body.split("/"), way.split("/")) for way in ways):
            excluded = not line.startswith("!")
    return excluded


def _naive_one(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(_naive_one(pattern[1:], path[n:]) for n in range(len(path) + 1))
    return bool(path) and _naive_name(pattern[0], path[0]) and _naive_one(pattern[1:], path[1:])


def _naive_name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_naive_name(pattern[1:], name[n:]) for n in range(len(name) + 1))
    if pattern[0] == "[":
        inside, _, rest = pattern[1:].partition("]")
        found = bool(name) and (name[0] in inside.removeprefix("^")) is not inside.startswith("^")
        return found and _naive_name(rest, name[1:])
    return bool(name) and pattern[0] in ("?", name[0]) and _naive_name(pattern[1:], name[1:])


_part = st.sampled_from(["a", "b", "ab", "*", "?", "**", "a*", "*b", "[ab]", "[^a]", "a?"])
_line = st.builds(
    lambda no, parts: ("!" if no else "") + "/".join(parts), st.booleans(), st.lists(_part, min_size=1, max_size=4)
)
_ALL = ["/".join(parts) for depth in (1, 2, 3) for parts in itertools.product(["a", "b", "ab"], repeat=depth)]


@settings(max_examples=150, deadline=None)
@given(st.lists(_line, max_size=6))
def test_matcher_agrees_with_the_naive_reading(lines: list[str]) -> None:
    matcher = Matcher(lines)
    for path in _ALL:
        assert matcher.excluded(path) is _naive(lines, path), path


@settings(max_examples=150, deadline=None)
@given(st.lists(_line, max_size=6))
def test_a_pruned_walk_finds_the_same_files(lines: list[str]) -> None:
    matcher = Matcher(lines)
    reached: set[str] = set()

    def walk(directory: str, state: int, depth: int) -> None:
        for name in ("a", "b", "ab"):
            path = f"{directory}/{name}" if directory else name
            mine = matcher.visit(path, state)
            if not matcher.excludes(mine):
                reached.add(path)
            if depth < 3 and (not matcher.excludes(mine) or matcher.may_reinclude_below(path, mine)):
                walk(path, mine, depth + 1)

    walk("", NOTHING, 1)
    assert reached == {path for path in _ALL if not matcher.excluded(path)}


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(pattern: str, path: str) -> None:
    try:
        patterns.match(pattern, path)
        Matcher([pattern]).excluded(path)
    except SyntaxProblem as error:
        assert error.why


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="/"), min_size=1, max_size=20))
def test_an_escaped_name_matches_itself_only(name: str) -> None:
    pattern = re.sub(r"([\\*?\[\]])", r"\\\1", name)
    assert patterns.match(pattern, name)
    assert not patterns.match(pattern, name + "x")
    assert not patterns.match(pattern, "")


def test_many_files_and_many_stars_are_no_trouble() -> None:
    matcher = Matcher([*(f"dir{n}" for n in range(2000)), "**/*.o", "build*/**", "!build/keep"])
    state = matcher.visit("src")
    kept = sum(not matcher.excludes(matcher.visit(f"src/f{n}.c", state)) for n in range(20_000))
    assert kept == 20_000
    assert not patterns.match("*a" * 40 + "b", "a" * 2000)
