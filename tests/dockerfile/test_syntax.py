"""The syntax layer: lines, flags, JSON forms, here-documents, directives, and the place of every error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannikin.dockerfile.passage import Passage, plain, suggestion
from pannikin.dockerfile.syntax import FLAGS, MAX_INSTRUCTION, Dockerfile, parse, parse_trigger, words
from pannikin.errors import PannikinError, Span, SyntaxProblem


def brief(parsed: Dockerfile) -> list[tuple[str, str]]:
    return [(one.name, one.rest.text) for one in parsed.instructions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", [("FROM", "a")]),
        ("from a\nrUn b", [("FROM", "a"), ("RUN", "b")]),
        ("  FROM   a  ", [("FROM", "a")]),
        ("\tFROM\ta\t", [("FROM", "a")]),
        ("\ufeffFROM a", [("FROM", "a")]),
        ("FROM a\r\nRUN b \\\r\n c\r\n", [("FROM", "a"), ("RUN", "b  c")]),
        ("# comment\n\nFROM a # no comment", [("FROM", "a # no comment")]),
        ("FROM a\n   # indented\nRUN b", [("FROM", "a"), ("RUN", "b")]),
        ("RUN a\\\nb", [("RUN", "ab")]),
        ("RUN a \\\n  b", [("RUN", "a   b")]),
        ("RUN a \\ \t \n  b", [("RUN", "a   b")]),
        ("RUN a \\\n# comment\n  b", [("RUN", "a   b")]),
        ("RUN a \\\n  # comment \\\n  b", [("RUN", "a   b")]),
        ("RUN a \\\n\n\n  b", [("RUN", "a   b")]),
        ("RUN a \\\n\n", [("RUN", "a")]),
        ("RUN a \\", [("RUN", "a")]),
        ("RUN a \\\\\nRUN b", [("RUN", "a \\\\"), ("RUN", "b")]),
        ("\\\nFROM a", [("FROM", "a")]),
        ("FRO\\\nM a", [("FROM", "a")]),
        ("# escape=`\nRUN a `\nb", [("RUN", "a b")]),
        ("# escape=`\nRUN a \\\nRUN b", [("RUN", "a \\"), ("RUN", "b")]),
        ("#escape = ` \nRUN a `\nb", [("RUN", "a b")]),
        ("# escape=\\\nRUN a \\\nb", [("RUN", "a b")]),
        ("# a comment ends directives\n# escape=`\nRUN a \\\nb", [("RUN", "a b")]),
        ("\n# escape=`\nRUN a \\\nb", [("RUN", "a b")]),
        ("# syntax=x\n# escape=`\nRUN a `\nb", [("RUN", "a b")]),
        ("ENTRYPOINT", [("ENTRYPOINT", "")]),
        ("ONBUILD RUN a \\\n b", [("ONBUILD", "RUN a  b")]),
        ("RUN -- a", [("RUN", "a")]),
        ("RUN --network=none -- --x", [("RUN", "--x")]),
    ],
)
def test_lines(text: str, expected: list[tuple[str, str]]) -> None:
    assert brief(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", {"syntax": "docker/dockerfile:1"}),
        ("# SYNTAX = x \n#check=skip=all;error=true\nFROM a", {"syntax": "x", "check": "skip=all;error=true"}),
        ("# foo=bar\n# syntax=x\nFROM a", {}),
        ("FROM a\n# syntax=x", {}),
    ],
)
def test_directives(text: str, expected: dict[str, str]) -> None:
    assert parse(text).directives == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('CMD ["a"]', ("a",)),
        ('CMD [ "a" , "b c" ]', ("a", "b c")),
        ('CMD ["a",\\\n "b"]', ("a", "b")),
        ("CMD []", ()),
        ("CMD ['a']", None),
        ('CMD ["a",]', None),
        ('CMD ["a"] x', None),
        ('CMD "a"', None),
        ('CMD {"a": 1}', None),
        ("CMD [a", None),
        ('CMD ["\\u00e9\\n"]', ("é\n",)),
        ('CMD ["\\ud800"]', ("\ufffd",)),
        ('ENV ["a"]=b', None),
        ('COPY ["a b", "c"]', ("a b", "c")),
        ('VOLUME ["/a"]', ("/a",)),
        ('SHELL ["/bin/sh", "-c"]', ("/bin/sh", "-c")),
        ('HEALTHCHECK --retries=2 CMD ["a"]', ("a",)),
        ("HEALTHCHECK CMD a", None),
    ],
)
def test_json_form(text: str, expected: tuple[str, ...] | None) -> None:
    assert parse(text).instructions[0].json == expected


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("RUN --network=none a", [("network", "none")], "a"),
        ("RUN --mount=type=cache,target=/a --mount=type=secret,id=b c",
         [("mount", "type=cache,target=/a"), ("mount", "type=secret,id=b")], "c"),
        ("COPY --link --chown=a:b x y", [("link", None), ("chown", "a:b")], "x y"),
        ("COPY --from='a b' x y", [("from", "a b")], "x y"),
        ('COPY --from="a\\"b" x y', [("from", 'a"b')], "x y"),
        ("COPY --chown=a\\ b x y", [("chown", "a b")], "x y"),
        ("COPY \\\n  --from=x \\\n  a b", [("from", "x")], "a b"),
        ("FROM --platform=$X a", [("platform", "$X")], "a"),
        ("RUN echo --mount=x", [], "echo --mount=x"),
        ("COPY --chown= a b", [("chown", "")], "a b"),
    ],
)  # fmt: skip
def test_flags(text: str, flags: list[tuple[str, str | None]], rest: str) -> None:
    instruction = parse(text).instructions[0]
    assert [(flag.name, flag.value) for flag in instruction.flags] == flags
    assert instruction.rest.text == rest


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("RUN <<EOF\na\n b\nEOF", [("EOF", "a\n b\n", True)]),
        ("RUN <<EOF\nEOF", [("EOF", "", True)]),
        ("RUN <<'EOF' cat\n$a\nEOF", [("EOF", "$a\n", False)]),
        ('RUN <<"EOF"\na\nEOF', [("EOF", "a\n", False)]),
        ("RUN <<-EOF\n\t\ta\n\tEOF", [("EOF", "a\n", True)]),
        ("RUN cat <<A >x && cat <<B\n1\nA\n2\nB", [("A", "1\n", True), ("B", "2\n", True)]),
        ("RUN 3<<EOF cat\nx\nEOF", [("EOF", "x\n", True)]),
        ("COPY <<a <<b /\nx\na\ny\nb", [("a", "x\n", True), ("b", "y\n", True)]),
        ("RUN <<EOF\n# not a comment\n\\\n\nEOF", [("EOF", "# not a comment\n\\\n\n", True)]),
        ("RUN cat <<< word", []),
        ("RUN echo $((1<<2))", []),
        ("RUN echo '<<EOF'", []),
        ("CMD cat <<EOF", []),
        ("ONBUILD RUN <<EOF\na\nEOF", [("EOF", "a\n", True)]),
    ],
)
def test_heredocs(text: str, documents: list[tuple[str, str, bool]]) -> None:
    parsed = parse(text + "\nUSER last")
    assert [(one.name, one.content, one.expand) for one in parsed.instructions[0].heredocs] == documents
    assert parsed.instructions[1].name == "USER"


@pytest.mark.parametrize(
    ("text", "place", "what", "hint"),
    [
        ("FROMM a", (1, 1), "unknown instruction: FROMM", "did you mean FROM?"),
        ("FROM a\n  apt-get update", (2, 3), "unknown instruction: apt-get", "RUN"),
        ("FROM a\nRUN b\n  && c", (3, 3), "unknown instruction: &&", "\\"),
        ("FROM a\nRUN --mont=x y", (2, 5), "RUN has no flag --mont", "--mount"),
        ("FROM a\nUSER --x y", (2, 6), "USER has no flag --x", "no flags"),
        ("FROM a\nCOPY --from=a \\\n  --from=b c d", (3, 3), "--from stands twice", ""),
        ("FROM a\nCMD [1]", (2, 5), "strings only", "quotes"),
        ('FROM a\nCMD ["a", null]', (2, 5), "strings only", ""),
        ("FROM a\nRUN \\\n  --mount='x", (3, 11), "a quote is never closed", ""),
        ("FROM a\nRUN cat <<X\nb", (2, 9), "never ended: X", ""),
        ("# escape=x\nFROM a", (1, 1), "not an escape character", "`"),
        ("# syntax=a\n# syntax=b\nFROM a", (2, 1), "a second # syntax=", ""),
        ("FROM a\n\0", (2, 1), "NUL", "UTF"),
        ('FROM a\nCMD ["a\\u0000"]', (2, 5), "NUL", ""),
    ],
)
def test_errors_have_a_place_and_a_way_out(text: str, place: tuple[int, int], what: str, hint: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        parse(text)
    where = caught.value.where
    assert isinstance(where, Span)
    assert (where.line, where.column) == place
    assert what in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "  \t\n\r\n", "\\\n\\\n", "\ufeff"])
def test_no_instructions(text: str) -> None:
    with pytest.raises(SyntaxProblem, match="no instructions"):
        parse(text)


def test_places_survive_continuations() -> None:
    rest = parse("FROM a\nRUN one \\\n\n    two\\\n  three").instructions[1].rest
    for word, line, column in (("one", 2, 5), ("two", 4, 5), ("three", 5, 3)):
        at = rest.text.index(word)
        span = rest.cut(at, at + len(word)).span()
        assert (span.line, span.column, span.width) == (line, column, len(word))
        assert span.text[span.column - 1 :].startswith(word)


def test_the_error_shows_the_line_that_is_wrong() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        parse("FROM a\n\tRUN --mont=x y", "sub/Dockerfile")
    assert str(caught.value).splitlines()[:3] == [
        "sub/Dockerfile:2:6: RUN has no flag --mont",
        " 2 |  RUN --mont=x y",
        "   |      ^^^^^^^^",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "RUN " + "a" * (MAX_INSTRUCTION + 1),
        "RUN a\\\n" * (MAX_INSTRUCTION // 4),
        "RUN <<X\n" + "y\n" * MAX_INSTRUCTION,
        "FROM " + "F" * 900_000 + "\nBAD",
        "A" * 900_000,
        "RUN --" + "a" * 900_000,
        "RUN --mount=" + "'" * 900_001,
        'CMD ["' + "a" * 900_000 + '", 1]',
        "RUN " + "<<A " * 200_000,
        "RUN " + '"<<' * 300_000 + " <<A",
        "#" * 900_000,
        "ONBUILD " * 120_000 + "\nX",
        "CMD " + "[" * 900_000 + "\nX",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_huge_input_is_refused_quickly(text: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        parse(text)
    assert len(str(caught.value)) < 2000


def test_trigger_is_one_instruction() -> None:
    assert parse_trigger("RUN a \\\n b", "x").rest.text == "a  b"
    for text in ("", "RUN a\nRUN b", "# x"):
        with pytest.raises(SyntaxProblem):
            parse_trigger(text, "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("a='b c' d", ["a='b c'", "d"]),
        ('a="b\\" c" d', ['a="b\\" c"', "d"]),
        ("a=b\\ c d", ["a=b\\ c", "d"]),
        ("'a\\' b", ["'a\\'", "b"]),
        ('"a b', ['"a b']),
        ("a\\", ["a\\"]),
        ("\t a\n b ", ["a", "b"]),
        ('""', ['""']),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert [found[0] for found in words(text, "\\")] == expected


def test_suggestion() -> None:
    assert suggestion("copu", list(FLAGS)) == "did you mean COPY?"
    assert suggestion("zzz", list(FLAGS)) == ""
    assert suggestion("x" * 1_000_000, list(FLAGS)) == ""


_fragments = st.lists(
    st.sampled_from(
        [
            *FLAGS,
            " ",
            "\n",
            "\\\n",
            "\\",
            '"',
            "'",
            "[",
            "]",
            ",",
            "--from=",
            "--",
            "<<EOF",
            "EOF\n",
            "#",
            "=",
            "# escape=`\n",
            "`\n",
            "$X",
            "${",
            "}",
            "a",
            "é",
            "\t",
            "\r\n",
            "ONBUILD ",
            "\0",
        ]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), _fragments))
def test_any_text_parses_or_is_refused_with_a_reason(text: str) -> None:
    try:
        parsed = parse(text)
    except PannikinError as error:
        assert error.what
        return
    assert parsed.instructions
    for instruction in parsed.instructions:
        assert instruction.name in FLAGS
        assert instruction.span.text[instruction.span.column - 1 :].upper().startswith(instruction.name[:1])


_plain_word = st.text("abcXYZ019./:=_$-", min_size=1, max_size=8).filter(lambda word: not word.startswith(("-", "<")))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(FLAGS.keys() - {"ONBUILD"})), st.lists(_plain_word, min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([" ", "\t", " \\\n ", " \\\n# note\n\n  "]),
)
def test_what_is_written_is_read(file: list[tuple[str, list[str]]], gap: str) -> None:
    text = "".join(f"{name}{gap}{gap.join(rest)}\n" for name, rest in file)
    read = [(one.name, one.rest.text.split()) for one in parse(text).instructions]
    assert read == file


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10), max_size=5))
def test_json_round_trip(items: list[str]) -> None:
    import json

    assert parse(f"CMD {json.dumps(items)}").instructions[0].json == tuple(items)


def test_passage_keeps_its_place() -> None:
    passage = plain("  hello world ", "f")
    assert isinstance(passage, Passage)
    word = passage.strip().cut(6)
    assert str(word) == "world"
    assert str(word.span()) == "f:1:9"
