"""The little languages inside arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannikin.dockerfile import values
from pannikin.dockerfile.ignore import read
from pannikin.errors import Span, SyntaxProblem


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("80", ["80/tcp"]),
        ("80/TCP", ["80/tcp"]),
        ("53/udp", ["53/udp"]),
        ("9/sctp", ["9/sctp"]),
        ("8000-8002", ["8000/tcp", "8001/tcp", "8002/tcp"]),
        ("5-5/udp", ["5/udp"]),
        ("8080:80", ["80/tcp"]),
        ("127.0.0.1:8080:80/udp", ["80/udp"]),
        ("80/", ["80/tcp"]),
        ("65535", ["65535/tcp"]),
    ],
)
def test_ports(spec: str, expected: list[str]) -> None:
    assert values.ports(spec) == expected


@pytest.mark.parametrize("spec", ["", "x", "80/icmp", "70000", "5-3", "1-2-3", "-1", "80:", "٣", "1 2"])
def test_bad_ports(spec: str) -> None:
    with pytest.raises(ValueError):
        values.ports(spec)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("0s", 0), ("1ns", 1), ("1us", 1000), ("1µs", 1000), ("5ms", 5 * 10**6), ("30s", 30 * 10**9),
        ("1.5s", 1_500_000_000), (".5s", 500_000_000), ("1.s", 10**9), ("1m30s", 90 * 10**9), ("1h", 3600 * 10**9),
        ("+3s", 3 * 10**9), ("-3s", -3 * 10**9), ("1h2m3s4ms", 3723004 * 10**6),
    ],
)  # fmt: skip
def test_duration(text: str, expected: int) -> None:
    assert values.duration(text) == expected


@pytest.mark.parametrize("text", ["", "3", "s", "3x", "1s2", "--3s", "1 s", ".s", "9" * 30 + "h", "1d"])
def test_bad_duration(text: str) -> None:
    with pytest.raises(ValueError):
        values.duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (5 * 10**6, "5ms"), (1_500_000_000, "1.5s"), (60 * 10**9, "1m0s"),
     (3_690 * 10**9, "1h1m30s"), (7200 * 10**9, "2h0m0s")],
)  # fmt: skip
def test_show_duration(nanoseconds: int, expected: str) -> None:
    assert values.show_duration(nanoseconds) == expected


@given(st.integers(0, 10**15))
def test_durations_round_trip(nanoseconds: int) -> None:
    assert values.duration(values.show_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("text", ["9", "64", "TERM", "SIGTERM", "sigkill", "SIGRTMIN+3", "RTMAX-2"])
def test_signal(text: str) -> None:
    assert values.signal(text) == text


@pytest.mark.parametrize("text", ["", "0", "65", "FOO", "SIG", "SIGSIGTERM", "-9", "TERM "])
def test_bad_signal(text: str) -> None:
    with pytest.raises(ValueError):
        values.signal(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("755", 0o755), ("0644", 0o644), ("4755", 0o4755), ("0", 0), ("07777", 0o7777)]
)
def test_mode(text: str, expected: int) -> None:
    assert values.mode(text) == expected


@pytest.mark.parametrize("text", ["", "8", "u+x", "10000", "-1", "0o755"])
def test_bad_mode(text: str) -> None:
    with pytest.raises(ValueError):
        values.mode(text)


def test_quoted() -> None:
    assert values.quoted(["a", 'b"c', "é"]) == '["a" "b\\"c" "é"]'


def test_ignore_file() -> None:
    text = "\ufeff# comment\r\n\r\n /a/ \r\n!b/../c\n #not a comment\n.\n"
    assert read(text) == ("a", "!c", "#not a comment", ".")


@pytest.mark.parametrize(("text", "line"), [("a\n!\n", 2), ("[", 1), ("# x\n\n\na[\n", 4)])
def test_bad_ignore_file(text: str, line: int) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        read(text, "x/.dockerignore")
    assert isinstance(caught.value.where, Span)
    assert (caught.value.where.file, caught.value.where.line) == ("x/.dockerignore", line)
