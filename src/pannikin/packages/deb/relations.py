"""Relations between packages, as Depends and its like write them (deb-control(5), Debian Policy 7.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pannikin.errors import Corrupt

_ATOM = re.compile(
    r"^\s*(?P<name>[^\s:(<\[]+)(?::(?P<arch>[\w-]+))?"
    r"\s*(?:\(\s*(?P<op><<|<=|>=|>>|=|<|>)\s*(?P<version>[\w.+:~-]+)\s*\))?"
    r"\s*(?:\[(?P<arches>[^\]]*)\])?\s*(?P<profiles>(?:<[^>]*>\s*)*)$"
)


@dataclass(frozen=True, slots=True)
class Atom:
    """One name in a relation: `qualifier` is what follows its colon (`any`, an architecture), `op` one of
    `<< <= = >= >>` or empty."""

    name: str
    qualifier: str = ""
    op: str = ""
    version: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.op} {self.version})" if self.op else name


def parse(field: str, where: str = "") -> list[tuple[Atom, ...]]:
    """A whole field: groups that must each hold, of alternatives of which one must."""
    return [tuple(_atom(item, where) for item in group.split("|")) for group in field.split(",") if group.strip()]


def _atom(text: str, where: str) -> Atom:
    match = _ATOM.match(text)
    if not match:
        raise Corrupt("not a package relation", where=where or None, why=text.strip())
    # A bare < or > is an old spelling of <= and >= (Policy 7.1).
    op = {"<": "<=", ">": ">="}.get(match["op"], match["op"]) or ""
    return Atom(match["name"], match["arch"] or "", op, match["version"] or "")
