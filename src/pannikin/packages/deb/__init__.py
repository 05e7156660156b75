"""Debian packages, from apt's sources to a root directory.

archive = Archive(from_host(), cache, "amd64")
pins = archive.resolve(archive.minimal())
install(root, archive.fetch(pins), run, architecture="amd64")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pannikin.packages.deb.archive import Archive
    from pannikin.packages.deb.database import installed
    from pannikin.packages.deb.debfile import newest
    from pannikin.packages.deb.distroless import unpack_distroless
    from pannikin.packages.deb.full import clean, configure, install, unpack_full, write_sources
    from pannikin.packages.deb.pins import Pinned
    from pannikin.packages.deb.sources import Source, explicit, from_host, portable

__all__ = [
    "Archive", "Pinned", "Source", "clean", "configure", "explicit", "from_host", "install", "installed",
    "newest", "portable",
    "unpack_distroless", "unpack_full", "write_sources",
]  # fmt: skip

_HOMES = {
    "archive": ("Archive",), "database": ("installed",), "debfile": ("newest",),
    "distroless": ("unpack_distroless",),
    "full": ("clean", "configure", "install", "unpack_full", "write_sources"), "pins": ("Pinned",),
    "sources": ("Source", "explicit", "from_host", "portable"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
