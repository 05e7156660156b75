"""Word expansion: BuildKit's answers as tables, the glob engine against a slow one, and properties."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannikin.dockerfile import glob
from pannikin.dockerfile.passage import plain
from pannikin.dockerfile.words import MAX_VALUE, expand, names, pairs
from pannikin.errors import PannikinError, Span, SyntaxProblem

ENV = {
    "A": "hello", "E": "", "S": "a b  c", "P": "/usr/local/bin/tool", "F": "archive.tar.gz", "PWD": "/home", "a_1": "u",
    "STAR": "a*b?c", "É": "accent", "V": "1.2.3-rc.1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ('he"llo"', "hello"),
        ("he\\'llo", "he'llo"),
        ("abc\\tdef", "abctdef"),
        ('"abc\\tdef"', "abc\\tdef"),
        ('"abc\\\\tdef"', "abc\\tdef"),
        ("'abc\\tdef'", "abc\\tdef"),
        ("hello\\", "hello"),
        ('"he\'llo"', "he'llo"),
        ("'he\"llo'", 'he"llo'),
        ("'a'\\''b'", "a'b"),
        ('""', ""),
        ("''", ""),
        ("$A", "hello"),
        ("${A}", "hello"),
        ("$A$A", "hellohello"),
        ("$A.x", "hello.x"),
        ("$Ax", ""),
        ("${A}x", "hellox"),
        ("$a_1", "u"),
        ("$É", "accent"),
        ("'$A'", "$A"),
        ('"$A"', "hello"),
        ("\\$A", "$A"),
        ("\\\\$A", "\\hello"),
        ('"\\$A"', "$A"),
        ("$", "$"),
        ("a$", "a$"),
        ("$ A", "$ A"),
        ("$.", "$."),
        ("$/x", "$/x"),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$@", ""),
        ("$$A", "A"),
        ("${@}x", "x"),
        ("$UNSET", ""),
        ("${UNSET}", ""),
        ("${A:-x}", "hello"),
        ("${A-x}", "hello"),
        ("${E:-x}", "x"),
        ("${E-x}", ""),
        ("${U:-x}", "x"),
        ("${U-x}", "x"),
        ("${U:-}", ""),
        ("${U:-$A}", "hello"),
        ("${U:-${A}}", "hello"),
        ("${U:-${U2:-${A}!}}", "hello!"),
        ("${U:-'a b'}", "a b"),
        ('${U:-"$A x"}', "hello x"),
        ("${U:-a\\}b}", "a}b"),
        ('"${U:-a b}"', "a b"),
        ("${A:+x}", "x"),
        ("${A+x}", "x"),
        ("${E:+x}", ""),
        ("${E+x}", "x"),
        ("${U:+x}", ""),
        ("${U+x}", ""),
        ("${A:+${E:+x}y}", "y"),
        ("${A:?no}", "hello"),
        ("${A?no}", "hello"),
        ("${E?no}", ""),
        ("${F%.*}", "archive.tar"),
        ("${F%%.*}", "archive"),
        ("${F#*.}", "tar.gz"),
        ("${F##*.}", "gz"),
        ("${P##*/}", "tool"),
        ("${P%/*}", "/usr/local/bin"),
        ("${P#/}", "usr/local/bin/tool"),
        ("${P#x}", "/usr/local/bin/tool"),
        ("${P%}", "/usr/local/bin/tool"),
        ("${V%%-*}", "1.2.3"),
        ("${V%.*.*}", "1.2"),
        ("${V##*.}", "1"),
        ("${V#?.}", "2.3-rc.1"),
        ("${V%?}", "1.2.3-rc."),
        ("${A#*l}", "lo"),
        ("${A##*l}", "o"),
        ("${A%l*}", "hel"),
        ("${A%%l*}", "he"),
        ("${STAR#a\\*}", "b?c"),
        ("${STAR%\\?c}", "a*b"),
        ("${U#x}", ""),
        ("${A/l/L}", "heLlo"),
        ("${A//l/L}", "heLLo"),
        ("${A/l/}", "helo"),
        ("${A//l/}", "heo"),
        ("${A/l*/X}", "heX"),
        ("${A/e?l/X}", "hXo"),
        ("${A/x/y}", "hello"),
        ("${P//\\//-}", "-usr-local-bin-tool"),
        ("${F/./$A}", "archivehellotar.gz"),
        ("${F//./_}", "archive_tar_gz"),
        ("${A/$U/x}", "xhello"),
        ("${U:-${F%.*}}", "archive.tar"),
        ("${V//[0-9]/x}", "1.2.3-rc.1"),
        ("$S", "a b  c"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(plain(text), ENV).text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("a'b c'd e", ["ab cd", "e"]),
        ('"a b" c', ["a b", "c"]),
        ("a\\ b c", ["a b", "c"]),
        ("$S", ["a", "b", "c"]),
        ('"$S"', ["a b  c"]),
        ("x$S y", ["xa", "b", "c", "y"]),
        ("$E", []),
        ("  a  $U  b ", ["a", "b"]),
        ("''", []),
    ],
)
def test_words_are_split_after_expansion(text: str, expected: list[str]) -> None:
    assert list(expand(plain(text), ENV).words) == expected


def test_the_other_escape_character() -> None:
    assert expand(plain("`$A \\$A"), ENV, "`").text == "$A \\hello"
    assert expand(plain('"`$A``"'), ENV, "`").text == "$A`"


def test_used_and_unset_are_told() -> None:
    found = expand(plain("$A ${U:-$V} '$P'"), ENV)
    assert found.used == {"A", "V"}
    assert found.unset == {"U"}


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("x ${A", 3, "never closed"),
        ("${", 1, "never closed"),
        ("${A:", 1, "never closed"),
        ("${A:-", 1, "never closed"),
        ("${A:-${B", 6, "never closed"),
        ("${}", 1, "bad substitution"),
        ("${{A}}", 1, "bad substitution"),
        ("${:-x}", 1, "bad substitution"),
        ("a ${A^}", 3, "unsupported modifier '^'"),
        ("${A:x}", 1, "unsupported modifier ':x'"),
        ("${A:=x}", 1, "unsupported modifier ':='"),
        ("${A/x}", 1, "two slashes"),
        ("${A/x", 1, "two slashes"),
        ("${A/x/y", 1, "never closed"),
        ("${A#\\h}", 1, "bad pattern"),
        ("'abc", 1, "single quote"),
        ('ab"c', 3, "double quote"),
        ('"${A"', 2, "unsupported modifier"),
        ('"${A:-b', 2, "never closed"),
        ("${U:?}", 1, "U has no value"),
        ("${U?gone}", 1, "U has no value"),
        ("${E:?}", 1, "E has no value"),
        ("${A:-${U:?x}}", 6, "U has no value"),
        ("${A:-" * 60 + "}" * 60, 251, "too deeply"),
    ],
)
def test_errors(text: str, column: int, what: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        expand(plain(text, "f"), ENV)
    assert what in caught.value.what
    assert isinstance(caught.value.where, Span)
    assert caught.value.where.column == column


def test_the_message_of_a_required_variable() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        expand(plain("${VERSION:?set it}"), {"VERSON": "1"})
    assert caught.value.why == "set it"
    assert "$VERSON" in caught.value.hint


def test_growth_is_bounded() -> None:
    env = {"A": "x" * 1000}
    assert len(expand(plain("$A" * 1000), env).text) == 1_000_000
    with pytest.raises(SyntaxProblem, match="too large"):
        expand(plain("$A" * (MAX_VALUE // 1000 + 1)), env)


@pytest.mark.parametrize("unit", ["${A:-", "'", '"', "${A/", "\\", "$", "${A#*", "}"])
def test_huge_input_is_no_trouble(unit: str) -> None:
    try:
        expand(plain(unit * (300_001 // len(unit))), ENV)
    except SyntaxProblem as error:
        assert len(str(error)) < 1000


_soup = st.lists(
    st.sampled_from(
        ["$", "{", "}", "A", "U", ":", "-", "+", "?", "#", "%", "/", "*", "'", '"', "\\", " ", "é", "${A", "${U:-"]
    ),
    max_size=25,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(_soup, st.text(max_size=30)))
def test_any_text_expands_or_is_refused(text: str) -> None:
    for escape in "\\`":
        try:
            found = expand(plain(text), ENV, escape)
        except PannikinError as error:
            assert error.what
        else:
            assert "".join("".join(found.words).split()) == "".join(found.text.split())


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_quoting_protects_everything(text: str) -> None:
    single = "'" + text.replace("'", "'\\''") + "'"
    double = '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'
    assert expand(plain(single), ENV).text == text
    assert expand(plain(double), ENV).text == text


_pattern = st.text("ab*?", max_size=6)
_value = st.text("ab", max_size=7)


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern.replace("*", ".*").replace("?", "."), value) is not None


@settings(max_examples=300, deadline=None)
@given(_pattern, _value)
def test_trim_agrees_with_trying_every_end(pattern: str, value: str) -> None:
    heads = [n for n in range(len(value) + 1) if _matches(pattern, value[:n])]
    tails = [n for n in range(len(value), -1, -1) if _matches(pattern, value[n:])]
    assert glob.trim_prefix(value, pattern, False) == (value[heads[0] :] if heads else value)
    assert glob.trim_prefix(value, pattern, True) == (value[heads[-1] :] if heads else value)
    assert glob.trim_suffix(value, pattern, False) == (value[: tails[0]] if tails else value)
    assert glob.trim_suffix(value, pattern, True) == (value[: tails[-1]] if tails else value)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?", min_size=1, max_size=6), _value, st.booleans())
def test_replace_agrees_with_regular_expressions(pattern: str, value: str, every: bool) -> None:
    spans: list[tuple[int, int]] = []
    at = 0
    while at <= len(value) and (every or not spans):
        ends = [
            (s, e)
            for s in range(at, len(value) + 1)
            for e in range(len(value), s - 1, -1)
            if _matches(pattern, value[s:e])
        ]
        if not ends or (spans and ends[0] == (at, at)):
            break
        spans.append(ends[0])
        at = ends[0][1]
    expected, last = "", 0
    for start, end in spans:
        expected += value[last:start] + "X"
        last = end
    assert glob.replace(value, pattern, "X", every) == expected + value[last:]


def test_patterns_do_not_explode() -> None:
    value = "a" * 5000
    assert glob.trim_prefix(value, "*a" * 30 + "b", True) == value
    assert glob.trim_suffix(value, "b" + "a*" * 30, True) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", [("a", "b")]),
        ("a=b c=d", [("a", "b"), ("c", "d")]),
        ('a="b c" d=e', [("a", '"b c"'), ("d", "e")]),
        ("a=b\\ c d=", [("a", "b\\ c"), ("d", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a b c", [("a", "b c")]),
        ("a  b  c ", [("a", "b  c")]),
        ("a b=c", [("a", "b=c")]),
        ('a "b c"', [("a", '"b c"')]),
    ],
)
def test_pairs(text: str, expected: list[tuple[str, str]]) -> None:
    found = pairs(plain(text), "ENV", "\\")
    assert [(one.key.text, one.value.text if one.value else "") for one in found] == expected


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("a=b c", 5, "no = in c"),
        ("a", 1, "needs a value"),
        ("=b", 1, "name is missing"),
        ("a=b =c", 5, "name is missing"),
    ],
)
def test_bad_pairs(text: str, column: int, what: str) -> None:
    with pytest.raises(SyntaxProblem, match=what) as caught:
        pairs(plain(text, "f"), "ENV", "\\")
    assert isinstance(caught.value.where, Span)
    assert caught.value.where.column == column


def test_names() -> None:
    found = names(plain("A B=1 C='x y' D="), "\\")
    assert [(one.key.text, one.value.text if one.value is not None else None) for one in found] == [
        ("A", None), ("B", "1"), ("C", "'x y'"), ("D", ""),
    ]  # fmt: skip
    for bad in ("", "=x"):
        with pytest.raises(SyntaxProblem):
            names(plain(bad), "\\")
