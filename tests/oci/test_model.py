"""Documents lose nothing: what the specification does not name survives, at every depth."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannikin.errors import Corrupt
from pannikin.oci.model import MAX_DOCUMENT, Config, Descriptor, Index, Manifest

DIGEST = "sha256:" + "a" * 64
CONFIG: dict[str, Any] = {
    "created": "2020-01-02T03:04:05Z", "author": "me", "architecture": "arm", "variant": "v7", "os": "linux",
    "os.version": "1", "os.features": ["x"], "moby.buildkit.cache": "kept",
    "config": {
        "User": "1:2", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b", "A=c"], "Entrypoint": ["/x"], "Cmd": ["y"],
        "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"l": ""}, "StopSignal": "SIGINT", "ArgsEscaped": True,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1, "Timeout": 2, "StartPeriod": 3, "StartInterval": 4,
                        "Retries": 5, "Later": 6},
        "OnBuild": ["RUN x"], "Shell": ["/bin/sh", "-c"], "Hostname": "old",
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST], "x": 1},
    "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "a", "author": "b", "comment": "c", "y": [None]},
                {"created_by": "d", "empty_layer": True}],
}  # fmt: skip


def test_a_config_with_every_field_and_unknown_ones_comes_back_whole() -> None:
    config = Config.decode(json.dumps(CONFIG).encode())
    assert config.config.on_build == ["RUN x"] and str(config.platform) == "linux/arm/v7"
    assert config.config.healthcheck is not None and config.config.healthcheck.start_interval == 4
    assert json.loads(config.encode()) == CONFIG


def test_manifests_and_indexes_come_back_whole() -> None:
    descriptor = {"mediaType": "a/b", "digest": DIGEST, "size": 1, "urls": ["u"], "annotations": {"a": "b"},
                  "data": "eA==", "artifactType": "c/d", "z": {"deep": [1, {"n": 2}]}}  # fmt: skip
    platform = {
        "architecture": "amd64",
        "os": "linux",
        "os.version": "v",
        "os.features": ["f"],
        "variant": "v2",
        "q": 1,
    }
    manifest = {"schemaVersion": 2, "mediaType": "m/t", "artifactType": "x/y", "config": descriptor,
                "layers": [descriptor, descriptor], "subject": descriptor,
                "annotations": {"k": "v"}, "u": 1}  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": "i/t", "manifests": [{**descriptor, "platform": platform}], "w": []}
    assert json.loads(Manifest.decode(json.dumps(manifest).encode()).encode()) == manifest
    assert json.loads(Index.decode(json.dumps(index).encode()).encode()) == index


def test_empty_lists_that_matter_are_written() -> None:
    manifest = Manifest(config=Descriptor(media_type="a/b", digest=DIGEST, size=0), layers=[])  # type: ignore[arg-type]
    assert json.loads(manifest.encode())["layers"] == []
    assert json.loads(Config(architecture="amd64").encode())["rootfs"] == {"type": "layers", "diff_ids": []}


def test_gos_nulls_are_absent_fields() -> None:
    config = Config.decode(
        b'{"architecture":"amd64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":[]}}'
    )
    assert config.history == [] and config.config.env is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b"null", b'{"rootfs": 3}', b'{"history": {}}', b"\xff", b'{"a": ' * 3000, b"<html>no</html>"],
)
def test_what_is_no_config_is_corrupt(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        Config.decode(raw)


def test_a_huge_document_is_not_even_read() -> None:
    with pytest.raises(Corrupt, match="too large"):
        Manifest.decode(b" " * (MAX_DOCUMENT + 1))


names = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.integers(0, 9) | names | st.booleans(),
    lambda s: st.lists(s, max_size=2) | st.dictionaries(names, s, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_unknown_fields_survive_whatever_they_are(top: dict[str, Any], inner: dict[str, Any]) -> None:
    known = {
        "created",
        "author",
        "architecture",
        "variant",
        "os",
        "os.version",
        "os.features",
        "config",
        "rootfs",
        "history",
        "x-pannikin-extra",
    }
    top = {k: v for k, v in top.items() if k not in known}
    inner = {f"X{k}": v for k, v in inner.items()}
    tree = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "u", **inner},
        "rootfs": {"type": "layers", "diff_ids": []},
        **top,
    }
    assert json.loads(Config.decode(json.dumps(tree).encode()).encode()) == tree
