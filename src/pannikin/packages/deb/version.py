"""The order of Debian versions (deb-version(7))."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pannikin.packages.deb.relations import Atom

_PARTS = re.compile(r"(\D*)(\d*)")


@lru_cache(maxsize=65536)
def key(version: str) -> tuple[Any, ...]:
    """A key that sorts versions as dpkg does: `~` before the end, the end before letters, letters before the rest.

    >>> key("1.0~rc1") < key("1.0") < key("1.0+b1") < key("1:0")
    True
    """
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return (int(epoch) if epoch.isdigit() else 0, _part(upstream), _part(revision))


def meets(version: str, atom: Atom) -> bool:
    """Whether a version is one that a relation asks for."""
    if not atom.op:
        return True
    mine, asked = key(version), key(atom.version)
    return {
        "<<": mine < asked, "<=": mine <= asked, "=": mine == asked, ">=": mine >= asked, ">>": mine > asked
    }[atom.op]  # fmt: skip


def _part(text: str) -> tuple[Any, ...]:
    found: list[Any] = []
    for letters, digits in _PARTS.findall(text):
        if letters or digits:
            found += [(*map(_order, letters), 0), int(digits or 0)]
    return (*found, (0,))


def _order(char: str) -> int:
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256
