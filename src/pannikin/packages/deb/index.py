"""A Packages file, searchable by name without parsing it all.

A suite has 60,000 stanzas and an image needs a hundred. The file lies unpacked in the cache under its SHA-256,
beside it a table of where each name and each provided name begins: a later run maps both and reads only the
stanzas that it follows.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pannikin.errors import Corrupt
from pannikin.packages.deb import relations
from pannikin.packages.deb.relations import Atom

Groups = list[tuple[Atom, ...]]


def stanza(text: str) -> dict[str, str]:
    """The fields of one stanza; continuation lines keep their line breaks and leading space."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            fields[last] += "\n" + line
        elif line:
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    return fields


@dataclass
class Record:
    """One package as its control stanza describes it. `base` is the URI that `Filename` is relative to."""

    fields: dict[str, str]
    base: str = ""
    suite: str = ""
    priority: int = 500

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def version(self) -> str:
        return self.fields["Version"]

    @property
    def architecture(self) -> str:
        return self.fields.get("Architecture", "all")

    @property
    def multi_arch(self) -> str:
        return self.fields.get("Multi-Arch", "no")

    @property
    def essential(self) -> bool:
        return self.fields.get("Essential") == "yes"

    @cached_property
    def provides(self) -> list[Atom]:
        return [atom for group in self._groups("Provides") for atom in group]

    @cached_property
    def pre_depends(self) -> Groups:
        return self._groups("Pre-Depends")

    @cached_property
    def depends(self) -> Groups:
        return self._groups("Depends")

    @cached_property
    def recommends(self) -> Groups:
        return self._groups("Recommends")

    @cached_property
    def replaces(self) -> Groups:
        return self._groups("Replaces")

    @cached_property
    def conflicts(self) -> Groups:
        """Conflicts and Breaks: neither may be unpacked beside the other in a finished system."""
        return self._groups("Conflicts") + self._groups("Breaks")

    def _groups(self, name: str) -> Groups:
        value = self.fields.get(name)
        return relations.parse(value, f"{self.fields.get('Package')} {name}") if value else []


@dataclass
class PackageIndex:
    """One Packages file: `names` and `provides` map a name to the offsets of stanzas, `marked` the ones with
    `essential`, `required`, `important` or `standard`."""

    text: mmap.mmap | bytes
    names: dict[str, list[int]]
    provides: dict[str, list[int]]
    marked: dict[str, list[int]]
    base: str = ""
    suite: str = ""
    priority: int = 500
    _seen: dict[int, Record] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> list[Record]:
        """Packages of this very name."""
        return [self._record(offset) for offset in self.names.get(name, ())]

    def providers(self, name: str) -> list[Record]:
        """Packages that have the name in Provides."""
        return [self._record(offset) for offset in self.provides.get(name, ())]

    def marks(self, mark: str) -> list[Record]:
        """Packages with `Essential: yes` (`essential`) or of a priority."""
        return [self._record(offset) for offset in self.marked.get(mark, ())]

    def _record(self, offset: int) -> Record:
        if offset not in self._seen:
            end = self.text.find(b"\n\n", offset)
            raw = self.text[offset : end if end >= 0 else len(self.text)]
            fields = stanza(raw.decode("utf-8", "replace"))
            self._seen[offset] = Record(fields, self.base, self.suite, self.priority)
        return self._seen[offset]


_MARKS = {
    "essential": b"\nEssential: yes",
    "required": b"\nPriority: required",
    "important": b"\nPriority: important",
    "standard": b"\nPriority: standard",
}


def scan(text: bytes) -> dict[str, dict[str, list[int]]]:
    """The tables of a Packages file: offsets by name, by provided name and by mark."""
    names: dict[str, list[int]] = {}
    provides: dict[str, list[int]] = {}
    marked: dict[str, list[int]] = {}
    for offset, raw in _pieces(text):
        start = 9 if raw.startswith(b"Package: ") else raw.find(b"\nPackage: ") + 10
        if start == 9 and not raw.startswith(b"Package: "):
            raise Corrupt("a stanza has no Package field", why=raw[:60].decode("utf-8", "replace"))
        names.setdefault(raw[start:].split(b"\n", 1)[0].strip().decode(), []).append(offset)
        at = raw.find(b"\nProvides:")
        if at >= 0:
            line = raw[at + 10 :].split(b"\n", 1)[0].decode()
            for item in line.split(","):
                provides.setdefault(item.strip().split(" ", 1)[0].split(":", 1)[0], []).append(offset)
        for mark, needle in _MARKS.items():
            if needle in raw:
                marked.setdefault(mark, []).append(offset)
    return {"names": names, "provides": provides, "marked": marked}


def _pieces(text: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for raw in text.split(b"\n\n"):
        if raw.strip():
            lead = len(raw) - len(raw.lstrip(b"\n"))
            yield offset + lead, raw[lead:]
        offset += len(raw) + 2


def store(directory: Path, sha256: str, text: bytes) -> None:
    """Keep an unpacked Packages file and its tables, by the file's SHA-256 (hex). Whole or not at all."""
    import msgspec

    directory.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{sha256}.packages", text), (f"{sha256}.table", msgspec.msgpack.encode(scan(text)))):
        temporary = directory / f".{name}.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(directory / name)


def load(directory: Path, sha256: str) -> PackageIndex | None:
    """The index of a Packages file from the cache, or None where it is not (whole) there."""
    import msgspec

    try:
        tables: Any = msgspec.msgpack.decode((directory / f"{sha256}.table").read_bytes(), type=_TABLES)
        with open(directory / f"{sha256}.packages", "rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0
            text = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, msgspec.MsgspecError):
        return None
    return PackageIndex(text, tables["names"], tables["provides"], tables["marked"])


_TABLES = dict[str, dict[str, list[int]]]
