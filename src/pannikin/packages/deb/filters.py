"""What of a package is left out: documentation, manual pages, translations, caches, charset modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from pannikin.errors import UsageError

KINDS: Mapping[str, tuple[str, ...]] = {
    # Copyright files stay: licences ask for it, and scanners read them.
    "docs": (
        # Not the directory itself: where it is a link to another package's, the licence is behind it.
        r"usr/share/doc/[^/]+/(?!copyright$).+",
        r"usr/share/(?:doc-base|gtk-doc|help|lintian|linda|bug)/.+",
    ),
    "man": (r"usr/share/man/.+", r"usr/share/(?:info|groff)/.+"),
    # locale.alias and C.utf8 are what the C library needs for LANG=C.UTF-8.
    "locales": (
        r"usr/share/locale/(?!locale\.alias$).+",
        r"usr/share/i18n/locales/.+",
        r"usr/lib/locale/(?!C\.utf8(?:/|$)).+",
    ),
    "caches": (r"var/cache/(?:apt|debconf|ldconfig|man)/.+\.(?:bin|old)", r".*/__pycache__/.+", r"var/log/.+\.log"),
    # 8 MB of character set converters: glibc has UTF-8, Latin-1 and ASCII built in.
    "gconv": (r"usr/lib(?:/[^/]+)?/gconv/.+", r"lib(?:/[^/]+)?/gconv/.+"),
    # Zones by the POSIX and the leap-second clock; every name under zoneinfo/ itself stays.
    "zoneinfo-variants": (r"usr/share/zoneinfo/(?:right|posix)(?:/.*)?",),
}
"""Patterns over paths without a leading slash. Directories stay in `full` mode: dpkg lists them."""

DPKG: Mapping[str, tuple[str, ...]] = {
    "docs": (
        "path-exclude /usr/share/doc/*", "path-include /usr/share/doc/*/copyright",
        "path-exclude /usr/share/lintian/*", "path-exclude /usr/share/linda/*",
    ),
    "man": ("path-exclude /usr/share/man/*", "path-exclude /usr/share/info/*", "path-exclude /usr/share/groff/*"),
    "locales": ("path-exclude /usr/share/locale/*", "path-include /usr/share/locale/locale.alias"),
}  # fmt: skip
"""The same for dpkg.cfg(5), so that what is installed later inside leaves out the same."""


def dropper(kinds: Iterable[str]) -> Callable[[str], bool]:
    """A test of whether a path is left out. Raises `UsageError` for a kind that does not exist."""
    patterns: list[str] = []
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"can't drop {kind!r}", hint=f"one of {', '.join(KINDS)}")
        patterns += KINDS[kind]
    if not patterns:
        return lambda path: False
    match = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL).fullmatch
    return lambda path: match(path) is not None
