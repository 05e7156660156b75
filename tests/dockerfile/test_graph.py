"""Stages, bases, triggers, dates, and the graph as a whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannikin.dockerfile import graph
from pannikin.dockerfile.graph import DEFAULT_EPOCH
from pannikin.dockerfile.syntax import FLAGS
from pannikin.errors import NotFound, PannikinError, Span, SyntaxProblem, UsageError
from pannikin.graph import Copy, Image, Node, Run, Scratch
from pannikin.oci.model import Config
from tests.dockerfile.drawing import AMD64, ARM64, World, config, draw, history, layers, run_config

DEBIAN = 1706933106  # 2024-02-03T04:05:06Z
NODE = 1735689600  # 2025-01-01T00:00:00Z
ONBUILD = 1672531200  # 2023-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "target", "asked", "stages"),
    [
        ("FROM debian", None, ["debian:latest"], ("stage-0",)),
        ("FROM debian AS a\nFROM node AS b", None, ["node:latest"], ("b",)),
        ("FROM debian AS a\nFROM node AS b", "a", ["debian:latest"], ("a",)),
        ("FROM debian AS a\nFROM node AS b", "A", ["debian:latest"], ("a",)),
        ("FROM debian AS a\nFROM node AS b", "0", ["debian:latest"], ("a",)),
        ("FROM debian AS a\nFROM a AS b\nFROM node", "b", ["debian:latest"], ("a", "b")),
        ("FROM debian AS A\nFROM a", None, ["debian:latest"], ("a", "stage-1")),
        ("FROM debian AS a\nFROM node\nFROM scratch\nCOPY --from=A x y", None, ["debian:latest"], ("a", "stage-2")),
        ("FROM debian\nFROM node\nFROM scratch\nCOPY --from=1 x y", None, ["node:latest"], ("stage-1", "stage-2")),
        ("FROM scratch\nCOPY --from=debian:12 x y", None, ["debian:12"], ("stage-0",)),
        ("FROM scratch\nCOPY --from=debian x y\nCOPY --from=debian z w", None, ["debian:latest"], ("stage-0",)),
        ("FROM scratch", None, [], ("stage-0",)),
        ("FROM debian AS debian\nFROM debian", None, ["debian:latest"], ("debian", "stage-1")),
        ("FROM debian AS x\nFROM node AS x\nFROM x", None, ["node:latest"], ("x", "stage-2")),
        ("FROM node AS base\nFROM scratch AS node\nFROM base", None, ["node:latest"], ("base", "stage-2")),
        ("ARG B=debian\nFROM $B", None, ["debian:latest"], ("stage-0",)),
        ("ARG T=12\nARG B=debian:$T\nFROM ${B}", None, ["debian:12"], ("stage-0",)),
        ("FROM ${B:-debian}", None, ["debian:latest"], ("stage-0",)),
        ("FROM example.org:5000/x/debian:1", None, ["example.org:5000/x/debian:1"], ("stage-0",)),
    ],
)
def test_stages(text: str, target: str | None, asked: list[str], stages: tuple[str, ...]) -> None:
    world = World()
    drawn = draw(text, world, stage=target)
    assert [name for name, _ in world.asked] == asked
    assert drawn.stages == stages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM debian", "linux/amd64"),
        ("FROM --platform=linux/arm64 debian", "linux/arm64"),
        ("FROM --platform=$BUILDPLATFORM debian", "linux/amd64"),
        ("FROM --platform=$TARGETPLATFORM debian", "linux/arm64"),
        ("FROM --platform=linux/$TARGETARCH debian", "linux/arm64"),
        ("ARG P=linux/arm/v7\nFROM --platform=$P debian", "linux/arm/v7"),
    ],
)
def test_platform_of_from(text: str, expected: str) -> None:
    world = World()
    platform = AMD64 if text == "FROM debian" else ARM64
    draw(text, world, platform=platform, build_platform=AMD64)
    assert world.asked == [("debian:latest", expected)]


def test_a_cross_built_image_is_of_the_target_platform() -> None:
    text = "FROM --platform=$BUILDPLATFORM debian AS b\nRUN x\nFROM scratch\nCOPY --from=b a b"
    for one in (text, "FROM --platform=$BUILDPLATFORM debian"):
        assert config(one, platform=ARM64, build_platform=AMD64)["architecture"] == "arm64"


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("ARG V=1\nFROM scratch\nRUN a", {}, None),
        ("ARG V=1\nFROM scratch\nARG V\nRUN a", {}, "1"),
        ("ARG V=1\nFROM scratch\nARG V=2\nRUN a", {}, "2"),
        ("ARG V=1\nFROM scratch\nARG V=2\nRUN a", {"V": "3"}, "3"),
        ("ARG V\nFROM scratch\nARG V\nRUN a", {"V": "3"}, "3"),
        ("FROM scratch\nARG V\nRUN a", {}, None),
        ("FROM scratch\nRUN a", {"V": "3"}, None),
        ("FROM scratch\nARG V=1\nENV V=2\nRUN a", {"V": "3"}, "2"),
        ("FROM scratch\nENV V=2\nARG V=1\nRUN a", {}, "1"),
        ("FROM scratch AS a\nARG V=1\nFROM a\nRUN a", {}, "1"),
        ("FROM scratch AS a\nARG V=1\nENV V=2\nFROM a\nRUN a", {}, "2"),
        ("FROM scratch AS a\nARG V=1\nFROM scratch\nRUN a", {}, None),
        ("FROM scratch\nARG V=${U:-x}\nRUN a", {}, "x"),
        ("FROM scratch\nARG U=y\nARG V=${U:-x}\nRUN a", {}, "y"),
        ("FROM scratch\nARG V=$TARGETARCH\nRUN a", {}, ""),
        ("FROM scratch\nARG TARGETARCH\nARG V=$TARGETARCH\nRUN a", {}, "amd64"),
        ("FROM scratch\nARG V=\nRUN a", {}, ""),
    ],
)
def test_scope_of_arguments(text: str, build_args: dict[str, str], expected: str | None) -> None:
    node = draw(text, build_args=build_args).node.root
    assert isinstance(node, Run)
    assert dict(node.env).get("V") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TARGETPLATFORM", "linux/arm/v7"), ("TARGETOS", "linux"), ("TARGETARCH", "arm"), ("TARGETVARIANT", "v7"),
        ("BUILDPLATFORM", "linux/amd64"), ("BUILDARCH", "amd64"), ("BUILDVARIANT", ""), ("TARGETSTAGE", "last"),
    ],
)  # fmt: skip
def test_predefined_arguments(name: str, expected: str) -> None:
    from pannikin.oci.platform import Platform

    text = f"FROM scratch AS last\nARG {name}\nENV V=$\\{{{name}}}".replace("\\", "")
    found = run_config(text, platform=Platform("linux", "arm", "v7"), build_platform=AMD64, stage="last")
    assert f"V={expected}" in found["Env"]


def test_triggers_fire_right_after_from() -> None:
    drawn = draw('FROM onbuild\nRUN after\nCMD ["x"]')
    assert [type(node) for node in layers(drawn)] == [Image, Copy, Run, Run]
    assert history("FROM onbuild")[0] == "COPY package.json /app/"
    assert "OnBuild" not in json.loads(drawn.node.config)["config"]
    assert "READY=1" in json.loads(drawn.node.config)["config"]["Env"]
    trigger = layers(drawn)[2]
    assert isinstance(trigger.where, Span)
    assert trigger.where.file == "Dockerfile:1 (ONBUILD of onbuild)"
    assert trigger.title == "[3/4] ONBUILD RUN npm install"


def test_triggers_of_a_stage_fire_once_in_its_child() -> None:
    text = "FROM scratch AS a\nONBUILD RUN x\nFROM a AS b\nFROM b AS c"
    assert run_config(text, stage="a")["OnBuild"] == ["RUN x"]
    assert history(text, stage="a") == []
    assert history(text, stage="b") == ["RUN /bin/sh -c x"]
    assert history(text, stage="c") == ["RUN /bin/sh -c x"]
    assert "OnBuild" not in run_config(text, stage="b")


def test_a_trigger_may_copy_from_a_stage_of_the_child() -> None:
    text = "FROM debian AS parts\nRUN make\nFROM scratch AS a\nONBUILD COPY --from=parts /x /y\nFROM a"
    with pytest.raises(PannikinError):
        draw(text.replace("AS parts", "AS other"))
    drawn = draw(text)
    assert isinstance(drawn.node.root, Copy)
    assert isinstance(drawn.node.root.source, Run)


@pytest.mark.parametrize(
    ("base", "what"), [("bad-trigger", "ONBUILD FROM is not allowed"), ("broken-trigger", "unknown instruction")]
)
def test_a_bad_trigger_names_its_image(base: str, what: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        draw(f"FROM {base}")
    assert what in str(caught.value)
    assert f"(ONBUILD of {base})" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("FROM scratch", DEFAULT_EPOCH),
        ("FROM debian", DEBIAN),
        ("FROM old", DEFAULT_EPOCH),
        ("FROM bad-trigger:x AS unused\nFROM debian", DEBIAN),
        ("FROM node AS unused\nFROM debian", DEBIAN),
        ("FROM node AS a\nFROM debian\nCOPY --from=a x y", NODE),
        ("FROM onbuild AS a\nFROM debian\nCOPY --from=a x y", DEBIAN),
        ("FROM scratch\nCOPY --from=debian x y", DEBIAN),
        ("FROM debian AS a\nFROM a", DEBIAN),
    ],
)
def test_date_of_the_image(text: str, epoch: int) -> None:
    assert draw(text).node.epoch == epoch
    assert draw(text, epoch=5).node.epoch == 5
    assert draw(text, build_args={"SOURCE_DATE_EPOCH": "7"}).node.epoch == 7


def test_a_step_is_as_old_as_what_it_uses() -> None:
    text = "FROM node AS a\nFROM debian\nRUN x\nCOPY --from=a x y\nRUN z"
    chain = layers(draw(text))
    assert [getattr(node, "epoch", None) for node in chain] == [None, DEBIAN, NODE, NODE]
    assert {getattr(node, "epoch", 9) for node in layers(draw(text, epoch=9))} == {9}


def test_a_bad_epoch_is_refused() -> None:
    with pytest.raises(UsageError):
        draw("FROM scratch", build_args={"SOURCE_DATE_EPOCH": "today"})


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2024-02-03T04:05:06Z", DEBIAN),
        ("2024-02-03T04:05:06.999999999Z", DEBIAN),
        ("2024-02-03T06:05:06+02:00", DEBIAN),
        ("1960-01-01T00:00:00Z", 0),
        ("", None),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_seconds(created: str, expected: int | None) -> None:
    assert graph.seconds(created) == expected


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("FROM debian\nRUN a\nENV A=1\nCOPY b \\\n   c", ["[1/3] FROM debian:latest", "[2/3] RUN a", "[3/3] COPY b c"]),
        ("FROM debian AS one\nRUN a", ["[one 1/2] FROM debian:latest", "[one 2/2] RUN a"]),
        ("FROM scratch AS x\nFROM debian\nRUN a", ["[stage-1 1/2] FROM debian:latest", "[stage-1 2/2] RUN a"]),
        ("FROM scratch\nCOPY a b", ["", "[1/1] COPY a b"]),
        ("FROM scratch\n" + "RUN a\n" * 10, ["", *(f"[{n:>2}/10] RUN a" for n in range(1, 11))]),
        ("FROM scratch\nWORKDIR /a\nADD b c", ["", "[1/2] WORKDIR /a", "[2/2] ADD b c"]),
    ],
)
def test_titles(text: str, titles: list[str]) -> None:
    assert [node.title for node in layers(draw(text))] == titles


def test_every_step_knows_its_line() -> None:
    chain = layers(draw("# note\nFROM debian\nENV A=1\nRUN a \\\n  b\nCOPY c d\nWORKDIR /e"))
    assert [node.where.line for node in chain if node.where] == [2, 4, 6, 7]


def test_the_place_is_no_part_of_the_key() -> None:
    one = draw("FROM debian\nRUN a\nCOPY b c").node
    two = draw("# moved\n\nFROM   debian  AS  named\nRUN   a\n\ncopy b   c").node
    assert one.root.identity == two.root.identity


def test_stages_that_are_not_used_are_no_part_of_the_key() -> None:
    one = draw("FROM debian AS a\nRUN x\nFROM debian\nRUN y").node
    two = draw("FROM debian\nRUN y").node
    assert one.root.identity == two.root.identity


@pytest.mark.parametrize(
    ("text", "line", "column", "what", "hint"),
    [
        ("RUN x\nFROM a", 1, 1, "RUN before the first FROM", "ARG"),
        ("ARG A", 1, 1, "no FROM", ""),
        ("FROM", 1, 1, "FROM takes one image", "AS"),
        ("FROM a b", 1, 8, "FROM takes one image", "AS"),
        ("FROM a as", 1, 8, "FROM takes one image", "AS"),
        ("FROM a as b c", 1, 8, "FROM takes one image", "AS"),
        ("FROM a AS 1b", 1, 11, "not a name for a stage", ""),
        ("FROM a AS a/b", 1, 11, "not a name for a stage", ""),
        ("FROM a AS scratch", 1, 11, "can't be named scratch", ""),
        ("FROM $X", 1, 6, "names no image", "--build-arg X"),
        ("ARG VERSION=1\nFROM $VERSON", 2, 6, "names no image", "did you mean $VERSION"),
        ("ARG V=\nFROM $V", 2, 6, "names no image", ""),
        ("FROM a:b:c", 1, 6, "not an image reference", ""),
        ("FROM Debian", 1, 6, "not an image reference", "lower case"),
        ("FROM --platform= debian", 1, 6, "--platform is empty", ""),
        ("FROM --platform=$BUILDPLATFROM debian", 1, 6, "--platform is empty", "BUILDPLATFORM"),
        ("FROM --platform=a/b/c/d debian", 1, 6, "not a platform", ""),
        ("FROM ${X", 1, 6, "never closed", ""),
        ("FROM nowhere", 1, 6, "no image nowhere", ""),
        ("FROM scratch AS builder\nFROM buildr", 2, 6, "no image buildr", "the stage builder"),
        ("FROM later AS x\nFROM scratch AS later\nFROM x", 1, 6, "no image later", "line 2"),
        ("FROM scratch\nCOPY --from=0 a b", 2, 6, "copies from itself", ""),
        ("FROM scratch AS x\nCOPY --from=X a b", 2, 6, "copies from itself", ""),
        ("FROM scratch\nCOPY --from=1 a b\nFROM scratch", 2, 6, "comes later", "move"),
        ("FROM scratch\nCOPY --from=x a b\nFROM scratch AS x", 2, 6, "comes later", "move"),
        ("FROM scratch\nCOPY --from=7 a b", 2, 6, "no stage number 7", "from 0"),
        ("FROM scratch AS builder\nFROM scratch\nCOPY --from=bulder a b", 3, 6, "no image bulder", "builder"),
    ],
)
def test_errors(text: str, line: int, column: int, what: str, hint: str) -> None:
    with pytest.raises(PannikinError) as caught:
        draw(text)
    assert what in caught.value.what
    assert hint in caught.value.hint
    where = caught.value.where
    assert isinstance(where, Span)
    assert (where.line, where.column) == (line, column)


@pytest.mark.parametrize(
    ("stage", "hint"), [("biuld", "did you mean build?"), ("zzz", "build, run"), ("9", "build, run")]
)
def test_a_missing_target(stage: str, hint: str) -> None:
    with pytest.raises(NotFound, match="no stage") as caught:
        draw("FROM scratch AS build\nFROM scratch AS run", stage=stage)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("FROM scratch", {"A": "1"}, "build arguments that no ARG declares: A"),
        ("FROM scratch\nARG VERSION", {"VERSON": "1"}, "did you mean VERSION?"),
        ("FROM scratch AS a\nFROM scratch AS A", {}, "a second stage named a"),
    ],
)
def test_warnings(text: str, build_args: dict[str, str], expected: str) -> None:
    (warning,) = draw(text, build_args=build_args).warnings
    assert expected in warning


@pytest.mark.parametrize(
    ("text", "build_args"),
    [
        ("ARG A\nFROM scratch", {"A": "1"}),
        ("FROM scratch AS x\nARG A\nFROM scratch", {"A": "1"}),
        (
            "FROM scratch",
            {"http_proxy": "x", "BUILDKIT_INLINE_CACHE": "1", "SOURCE_DATE_EPOCH": "1", "TARGETARCH": "x"},
        ),
    ],
)
def test_no_warnings(text: str, build_args: dict[str, str]) -> None:
    assert draw(text, build_args=build_args).warnings == ()


def test_the_image_node() -> None:
    drawn = draw("FROM debian AS d\nRUN x", annotations={"b": "2", "a": "1"})
    assert drawn.node.annotations == (("a", "1"), ("b", "2"))
    again = Config.decode(drawn.node.config.encode())
    assert again.encode().decode() == drawn.node.config
    assert draw("FROM debian AS d\nRUN x", annotations={"b": "2", "a": "1"}).node == drawn.node


def test_an_image_that_is_only_a_base() -> None:
    drawn = draw("FROM debian")
    assert isinstance(drawn.node.root, Image)
    assert drawn.node.steps == ()
    assert drawn.node.root.reference == "docker.io/library/debian:latest"
    assert isinstance(draw("FROM scratch").node.root, Scratch)


def test_a_thousand_stages() -> None:
    text = "FROM debian AS s0\n" + "".join(
        f"FROM s{n} AS s{n + 1}\nRUN x{n}\nCOPY --from=s{n // 2} /a /b\n" for n in range(1000)
    )
    drawn = draw(text)
    assert len(drawn.node.steps) == 2000
    assert len(drawn.stages) == 1001
    assert drawn.node.root.identity


def test_a_doubling_argument_is_stopped() -> None:
    text = "FROM scratch\nARG A0=xxxxxxxxxx\n" + "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(40))
    with pytest.raises(SyntaxProblem, match="too large"):
        draw(text)


_line = st.builds(
    lambda name, flag, rest: f"{name} {flag}{rest}",
    st.sampled_from(sorted(FLAGS)),
    st.sampled_from(
        ["", "", "--from=0 ", "--chown=a ", "--platform=$X ", "--link ", "--interval=1s ", "--network=none "]
    ),
    st.sampled_from(
        [
            "a",
            "a b",
            "a=b",
            "$X",
            "${X:-y}",
            '["a", "b"]',
            "[]",
            "CMD x",
            "debian AS b",
            "scratch",
            "../x y",
            "'",
            "RUN x",
            "COPY --from=b a c",
            "/a/",
            "80/udp",
            "NONE",
            "a b c/",
            "A=$A",
            "<<E\nx\nE",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_line, max_size=8), st.booleans())
def test_any_file_is_drawn_or_refused(lines: list[str], with_from: bool) -> None:
    text = "\n".join(["FROM debian AS b"] * with_from + lines)
    try:
        drawn = draw(text)
    except PannikinError as error:
        assert error.what
        assert error.where is not None or "no instructions" in error.what
        return
    seen: list[Node] = [drawn.node]
    while seen:
        node = seen.pop()
        assert isinstance(node.where, Span)
        seen += node.inputs
    assert Config.decode(drawn.node.config.encode()).rootfs.diff_ids == []
