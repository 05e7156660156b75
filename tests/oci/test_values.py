"""Digests, platforms, references: the small values that everything else is named by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannikin.errors import Corrupt, UsageError
from pannikin.oci import digest as digests
from pannikin.oci.platform import Platform
from pannikin.oci.reference import Reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_digests_are_taken_as_they_are(text: str) -> None:
    assert digests.parse(text) == text


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", f"sha256:{HEX[1:]}", f"sha256:{HEX.upper()}", f"md5:{HEX[:32]}", f"sha512:{HEX}",
             "sha256:../../etc/passwd", f"SHA256:{HEX}", f"sha256:{HEX}\n"]
)  # fmt: skip
def test_other_digests_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        digests.parse(text)


def test_chain_ids_follow_the_specification() -> None:
    one, two, three = (digests.of(bytes([n])) for n in range(3))
    assert digests.chain_id([one]) == one
    assert digests.chain_id([one, two]) == digests.of(f"{one} {two}".encode())
    assert digests.chain_id([one, two, three]) == digests.of(f"{digests.chain_id([one, two])} {three}".encode())


def test_a_wrong_digest_is_corrupt() -> None:
    hashed = digests.hasher("sha256:")
    hashed.update(b"x")
    with pytest.raises(Corrupt, match="expected"):
        digests.check(digests.of(b"y"), hashed)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("linux/amd64", "linux/amd64"), ("linux/arm64/v8", "linux/arm64"), ("linux/arm64/8", "linux/arm64"),
     ("linux/arm", "linux/arm/v7"), ("linux/armhf", "linux/arm/v7"), ("linux/armel", "linux/arm/v6"),
     ("linux/x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("windows/amd64", "windows/amd64"),
     ("linux/i386", "linux/386"), ("linux/arm/v5", "linux/arm/v5"), ("Linux/AMD64", "linux/amd64"),
     ("linux/amd64/v3", "linux/amd64/v3"), ("linux/riscv64", "linux/riscv64")],
)  # fmt: skip
def test_platforms_have_one_normal_form(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal
    assert Platform.parse(normal) == Platform.parse(text)


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/amd64;rm", "linux/ amd64"])
def test_other_platforms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a platform"):
        Platform.parse(text)


def test_a_machine_runs_older_variants_only() -> None:
    assert Platform.parse("linux/arm/v7").runs(Platform.parse("linux/arm/v6"))
    assert not Platform.parse("linux/arm/v6").runs(Platform.parse("linux/arm/v7"))
    assert not Platform.parse("linux/amd64").runs(Platform.parse("linux/amd64/v3"))
    assert not Platform.parse("linux/amd64").runs(Platform.parse("linux/arm64"))


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("node", "docker.io/library/node:latest", "node:latest"),
        ("node:20", "docker.io/library/node:20", "node:20"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/node", "docker.io/library/node:latest", "node:latest"),
        ("index.docker.io/library/node", "docker.io/library/node:latest", "node:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("example.org/a/b/c:x_y.z-1", "example.org/a/b/c:x_y.z-1", "example.org/a/b/c:x_y.z-1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"app@sha256:{HEX}", f"docker.io/library/app@sha256:{HEX}", f"app@sha256:{HEX}"),
        (f"app:1@sha256:{HEX}", f"docker.io/library/app:1@sha256:{HEX}", f"app:1@sha256:{HEX}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
    ],
)
def test_references_get_dockers_defaults(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(familiar) == reference == Reference.parse(full)


@pytest.mark.parametrize(
    "text", ["", ":", "App", "a b", "a//b", "/a", "a/", "app:", "app:-x", "app@", "app@sha256:12", "a___b",
             "-a", "a" * 300,
             "app:" + "x" * 129, "..", "../x", "example.org/", "a/.b", HEX, "example.org:port/app"]
)  # fmt: skip
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Reference.parse(text)


def test_an_upper_case_name_gets_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse("MyApp")
    assert "'myapp'" in caught.value.hint


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(reference)) == reference
