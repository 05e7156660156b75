"""What each instruction makes of the configuration and of the history; compared once with docker's own answers."""

from __future__ import annotations

from typing import Any

import pytest

from pannikin.errors import Span, SyntaxProblem
from tests.dockerfile.drawing import config, draw, history, run_config

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HEAD = 'FROM scratch\nENV A=hello E= S="a b"\n'
BASE = [PATH, "A=hello", "E=", "S=a b"]


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("ENV R=$A", "Env", [*BASE, "R=hello"]),
        ("ENV R='$A'", "Env", [*BASE, "R=$A"]),
        ("ENV R=a Q=b", "Env", [*BASE, "R=a", "Q=b"]),
        ("ENV R=a Q=$R", "Env", [*BASE, "R=a", "Q="]),
        ("ENV R=a\nENV Q=$R", "Env", [*BASE, "R=a", "Q=a"]),
        ("ENV A=x B=$A", "Env", [PATH, "A=x", "E=", "S=a b", "B=hello"]),
        ("ENV R $A  b", "Env", [*BASE, "R=hello  b"]),
        ('ENV R a "b c"', "Env", [*BASE, "R=a b c"]),
        ("ENV ONE TWO= THREE=x", "Env", [*BASE, "ONE=TWO= THREE=x"]),
        ("ENV R=a \\\n    Q=b", "Env", [*BASE, "R=a", "Q=b"]),
        ('ENV R=""', "Env", [*BASE, "R="]),
        ("ENV $A=v", "Env", [*BASE, "hello=v"]),
        ("ENV PATH=/x:$PATH", "Env", ["PATH=/x:" + PATH[5:], *BASE[1:]]),
        ("ENV R=${X:-d} Q=${A:+s}", "Env", [*BASE, "R=d", "Q=s"]),
        ("ARG B=1\nENV R=$B", "Env", [*BASE, "R=1"]),
        ("ARG B\nENV R=x$B", "Env", [*BASE, "R=x"]),
        ("ARG A=1\nENV R=$A", "Env", [*BASE, "R=1"]),
        ("ARG B=${A}x C=$B\nENV R=$C", "Env", [*BASE, "R=hellox"]),
        ("LABEL a=b", "Labels", {"a": "b"}),
        ('LABEL a=b "c d"="e $A" x=\'$A\'', "Labels", {"a": "b", "c d": "e hello", "x": "$A"}),
        ("LABEL a b c", "Labels", {"a": "b c"}),
        ("LABEL a=1 a=2", "Labels", {"a": "2"}),
        ("LABEL a=1\nLABEL b=2\nLABEL a=3", "Labels", {"a": "3", "b": "2"}),
        ("EXPOSE 80", "ExposedPorts", {"80/tcp": {}}),
        ("EXPOSE 80 90/udp 5-6", "ExposedPorts", {"80/tcp": {}, "90/udp": {}, "5/tcp": {}, "6/tcp": {}}),
        ("ENV P='1 2/udp'\nEXPOSE $P", "ExposedPorts", {"1/tcp": {}, "2/udp": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b", "/$A"]', "Volumes", {"/a b": {}, "/hello": {}}),
        ("USER app:grp", "User", "app:grp"),
        ("USER $A", "User", "hello"),
        ("USER a\nUSER b", "User", "b"),
        ("WORKDIR a", "WorkingDir", "/a"),
        ("WORKDIR /a\nWORKDIR b/$A\nWORKDIR ../c", "WorkingDir", "/a/b/c"),
        ("WORKDIR /a\nWORKDIR /b/", "WorkingDir", "/b"),
        ("WORKDIR ../..", "WorkingDir", "/"),
        ("WORKDIR $E", "WorkingDir", "/"),
        ("STOPSIGNAL SIGTERM", "StopSignal", "SIGTERM"),
        ("STOPSIGNAL 9", "StopSignal", "9"),
        ("ENV Q=SIGUSR1\nSTOPSIGNAL $Q", "StopSignal", "SIGUSR1"),
        ('SHELL ["/bin/bash", "-c"]', "Shell", ["/bin/bash", "-c"]),
        ('SHELL ["/b", "-x"]\nCMD a', "Cmd", ["/b", "-x", "a"]),
        ("CMD a $A", "Cmd", ["/bin/sh", "-c", "a $A"]),
        ('CMD ["a", "$A"]', "Cmd", ["a", "$A"]),
        ("CMD ['a']", "Cmd", ["/bin/sh", "-c", "['a']"]),
        ("CMD []", "Cmd", None),
        ("CMD a \\\n  b", "Cmd", ["/bin/sh", "-c", "a   b"]),
        ('ENTRYPOINT ["a"]', "Entrypoint", ["a"]),
        ("ENTRYPOINT a", "Entrypoint", ["/bin/sh", "-c", "a"]),
        ('CMD ["a"]\nENTRYPOINT ["b"]', "Cmd", ["a"]),
        ("HEALTHCHECK CMD x y", "Healthcheck", {"Test": ["CMD-SHELL", "x y"]}),
        ('HEALTHCHECK cmd ["x"]', "Healthcheck", {"Test": ["CMD", "x"]}),
        ("HEALTHCHECK none", "Healthcheck", {"Test": ["NONE"]}),
        (
            "HEALTHCHECK --interval=1m --timeout=1.5s --start-period=5s --start-interval=2s --retries=3 CMD\tx",
            "Healthcheck",
            {
                "Test": ["CMD-SHELL", "x"],
                "Interval": 60 * 10**9,
                "Timeout": 1_500_000_000,
                "StartPeriod": 5 * 10**9,
                "StartInterval": 2 * 10**9,
                "Retries": 3,
            },
        ),
        ("ONBUILD RUN x\nONBUILD copy . /", "OnBuild", ["RUN x", "copy . /"]),
        ("ONBUILD ENV A=$B", "OnBuild", ["ENV A=$B"]),
    ],
)
def test_config(text: str, key: str, expected: Any) -> None:
    assert run_config(HEAD + text).get(key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV A=b 'C d'=\"e f\"", ["ENV A=b C d=e f"]),
        ("ARG A\nARG B=1 C", ["ARG A", "ARG B=1 C"]),
        ("LABEL a=b c=d", ["LABEL a=b c=d"]),
        ('CMD ["x", "y\\"z"]', ['CMD ["x" "y\\"z"]']),
        ("CMD x", ['CMD ["/bin/sh" "-c" "x"]']),
        ('ENTRYPOINT ["x"]', ['ENTRYPOINT ["x"]']),
        ("EXPOSE 80 81/udp", ["EXPOSE [80/tcp 81/udp]"]),
        ("VOLUME /a", ["VOLUME [/a]"]),
        ("USER u", ["USER u"]),
        ("WORKDIR a", ["WORKDIR /a"]),
        ("STOPSIGNAL INT", ["STOPSIGNAL INT"]),
        ('SHELL ["/bin/x", "-c"]', ["SHELL [/bin/x -c]"]),
        ("MAINTAINER Jane  Doe", ["MAINTAINER Jane  Doe"]),
        ("HEALTHCHECK --interval=90s CMD x",
         ["HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"]),
        ("RUN a  b", ["RUN /bin/sh -c a  b"]),
        ('RUN ["a", "b c"]', ["RUN a b c"]),
        ("ARG X=1\nARG Y\nRUN a", ["ARG X=1", "ARG Y", "RUN |2 X=1 Y= /bin/sh -c a"]),
        ("ARG X=1\nENV X=2\nRUN a", ["ARG X=1", "ENV X=2", "RUN |1 X=2 /bin/sh -c a"]),
        ("COPY a b /c/", ["COPY a b /c/"]),
        ("COPY --chown=1:2 --chmod=644 a .", ["COPY --chown=1:2 --chmod=644 a ."]),
        ("ADD a /b", ["ADD a /b"]),
        ("ONBUILD RUN a", []),
    ],
)  # fmt: skip
def test_history(text: str, expected: list[str]) -> None:
    assert history("FROM scratch\n" + text) == expected


def test_only_steps_with_a_layer_have_a_node() -> None:
    steps = draw("FROM scratch\nENV A=1\nWORKDIR /\nWORKDIR /a\nCOPY a b\nRUN c\nUSER d").node.steps
    assert [step.node is not None for step in steps] == [False, False, True, True, True, False]
    assert {step.comment for step in steps} == {"pannikin"}


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("", "Cmd", ["node"]),
        ("", "Entrypoint", ["entry"]),
        ('ENTRYPOINT ["x"]', "Cmd", None),
        ('CMD ["y"]\nENTRYPOINT ["x"]', "Cmd", ["y"]),
        ('ENTRYPOINT ["x"]\nCMD ["y"]', "Cmd", ["y"]),
        ("ENTRYPOINT []", "Entrypoint", None),
        ("CMD y", "Cmd", ["/bin/bash", "-ec", "y"]),
        ("EXPOSE 2", "ExposedPorts", {"1/tcp": {}, "2/tcp": {}}),
        ("VOLUME /w", "Volumes", {"/v": {}, "/w": {}}),
        ("WORKDIR x", "WorkingDir", "/srv/x"),
        ("ENV A=1", "Env", ["PATH=/node/bin", "A=1"]),
        ("", "User", "node"),
        ("USER root", "User", "root"),
        ("", "StopSignal", "SIGINT"),
    ],
)
def test_what_a_base_image_hands_on(text: str, key: str, expected: Any) -> None:
    assert run_config("FROM node\n" + text).get(key) == expected


def test_a_stage_hands_on_its_cmd_and_an_entrypoint_of_the_child_clears_it() -> None:
    text = 'FROM scratch AS a\nCMD ["x"]\nFROM a\n'
    assert run_config(text)["Cmd"] == ["x"]
    assert "Cmd" not in run_config(text + 'ENTRYPOINT ["y"]')


def test_the_base_stays_as_it_was() -> None:
    text = "FROM debian AS a\nENV X=1\nLABEL l=1\nEXPOSE 1\nFROM a AS b\nENV X=2\nLABEL l=2\nEXPOSE 2\nFROM a"
    assert run_config(text) == run_config(text, stage="a")
    assert run_config(text, stage="b")["Labels"] == {"from": "debian", "l": "2"}


def test_top_of_the_config() -> None:
    found = config("FROM node\nMAINTAINER me")
    assert (found["author"], found["architecture"], found["os"]) == ("me", "amd64", "linux")
    assert found["rootfs"] == {"type": "layers", "diff_ids": []}
    assert "created" not in found
    assert config("FROM debian")["history"] == [{"created_by": "mmdebstrap", "comment": "base"}]


def test_labels_of_the_command_line_win() -> None:
    assert run_config("FROM debian\nLABEL a=1 b=2", labels={"a": "9", "c": "3"})["Labels"] == {
        "from": "debian", "a": "9", "b": "2", "c": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("ENV", 2, 1, "ENV needs an argument"),
        ("ENV A", 2, 5, "needs a value"),
        ("ENV A=1 B", 2, 9, "no = in B"),
        ("ENV A=\\\n  b", 3, 3, "no = in b"),
        ("ENV A=1 # c", 2, 9, "no = in #"),
        ("ENV =1", 2, 5, "name is missing"),
        ("ENV $X=1", 2, 5, "not a variable's name"),
        ("ENV A='x", 2, 7, "single quote"),
        ("ENV A=1 \\\n    B=${C", 3, 7, "never closed"),
        ("ARG", 2, 1, "needs an argument"),
        ("ARG =1", 2, 5, "name is missing"),
        ("LABEL", 2, 1, "needs an argument"),
        ('LABEL ""=x', 2, 7, "empty"),
        ("CMD", 2, 1, "needs an argument"),
        ("ENTRYPOINT", 2, 1, "needs an argument"),
        ("RUN", 2, 1, "needs an argument"),
        ("RUN []", 2, 5, "needs a command"),
        ("SHELL /bin/sh -c", 2, 7, "JSON form"),
        ("SHELL []", 2, 7, "JSON form"),
        ("SHELL", 2, 1, "JSON form"),
        ("USER", 2, 1, "needs an argument"),
        ("EXPOSE", 2, 1, "needs an argument"),
        ("EXPOSE 80 x", 2, 11, "not a port: x"),
        ("EXPOSE 1 2-1", 2, 10, "not a port: 2-1"),
        ("VOLUME", 2, 1, "needs an argument"),
        ("VOLUME []", 2, 8, "a path is empty"),
        ("VOLUME /a $X", 2, 8, "a path is empty"),
        ("STOPSIGNAL FOO", 2, 12, "STOPSIGNAL"),
        ("STOPSIGNAL $X", 2, 12, "STOPSIGNAL"),
        ("WORKDIR", 2, 1, "needs an argument"),
        ("MAINTAINER", 2, 1, "needs an argument"),
        ("HEALTHCHECK", 2, 1, "needs an argument"),
        ("HEALTHCHECK x", 2, 13, "not CMD or NONE"),
        ("HEALTHCHECK NONE x", 2, 13, "nothing more"),
        ("HEALTHCHECK --retries=1 NONE", 2, 25, "nothing more"),
        ("HEALTHCHECK CMD", 2, 13, "needs a command"),
        ("HEALTHCHECK CMD []", 2, 17, "needs a command"),
        ("HEALTHCHECK --interval=3 CMD x", 2, 13, "--interval"),
        ("HEALTHCHECK --interval=1us CMD x", 2, 13, "less than 1ms"),
        ("HEALTHCHECK --timeout=-1s CMD x", 2, 13, "less than 1ms"),
        ("HEALTHCHECK --retries=x CMD x", 2, 13, "--retries"),
        ("ONBUILD", 2, 1, "needs an argument"),
        ("ONBUILD ONBUILD RUN x", 2, 9, "ONBUILD ONBUILD"),
        ("ONBUILD from x", 2, 9, "ONBUILD FROM"),
        ("ONBUILD MAINTAINER x", 2, 9, "ONBUILD MAINTAINER"),
        ("ONBUILD RUNN x", 2, 9, "unknown instruction"),
    ],
)
def test_errors(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        draw(f"FROM scratch\n{text}\n")
    assert what in caught.value.what
    where = caught.value.where
    assert isinstance(where, Span)
    assert (where.line, where.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("USER $X", "USER is empty"), ("WORKDIR $X", "WORKDIR is empty"), ("EXPOSE 1:2", "no host address")],
)
def test_warnings(text: str, expected: str) -> None:
    (warning,) = draw(f"FROM scratch\n{text}").warnings
    assert expected in warning
    assert warning.startswith("Dockerfile:2:")
