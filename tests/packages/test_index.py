"""Packages files: the splitter against python-debian, and the cache."""

from pathlib import Path

import pytest
from debian.deb822 import Deb822

from pannikin.errors import Corrupt
from pannikin.packages.deb import index

TEXT = b"""\
Package: a
Version: 1
Provides: v (= 2), w:any
Description: one
 more
 .
 lines
Priority: required

Package: b
Architecture: all
Version: 2
Essential: yes


Package: a
Version: 3
Provides: v
"""


def test_stanzas_as_python_debian_reads_them() -> None:
    mine = [index.stanza(part.decode()) for part in TEXT.split(b"\n\n") if part.strip()]
    theirs = [dict(one) for one in Deb822.iter_paragraphs(TEXT)]
    assert mine == theirs


def test_store_and_load(tmp_path: Path) -> None:
    index.store(tmp_path, "x", TEXT)
    found = index.load(tmp_path, "x")
    assert found is not None
    assert [one.version for one in found.find("a")] == ["1", "3"]
    assert found.find("b")[0].architecture == "all"
    assert [one.version for one in found.providers("v")] == ["1", "3"]
    assert [one.name for one in found.providers("w")] == ["a"]
    assert [one.name for one in found.marks("required")] == ["a"] and found.marks("essential")[0].essential
    assert found.find("none") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.packages", "x.table"]


def test_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    index.store(tmp_path, "x", TEXT)
    (tmp_path / "x.table").write_bytes((tmp_path / "x.table").read_bytes()[:-5])
    assert index.load(tmp_path, "x") is None
    assert index.load(tmp_path, "absent") is None


def test_empty_index(tmp_path: Path) -> None:
    index.store(tmp_path, "x", b"")
    found = index.load(tmp_path, "x")
    assert found is not None and found.names == {}


def test_a_stanza_without_a_name() -> None:
    with pytest.raises(Corrupt, match="no Package"):
        index.scan(b"Version: 1\n\nPackage: a\n")
