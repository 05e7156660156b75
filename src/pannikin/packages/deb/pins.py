"""A pinned package: exactly one file of an archive, checked by its hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pinned:
    """One package file. `sha256` is hex, `size` bytes (of the .deb), `filename` its path in the archive.

    `url` is where it was found; it takes no part in what the package is.
    """

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    filename: str
    url: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.version}"
