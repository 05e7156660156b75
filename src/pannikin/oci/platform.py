"""Platforms (image-spec image-index.md; names and normal forms as containerd writes them)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pannikin.errors import UsageError

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm",
    "i386": "386", "i686": "386", "ppc64el": "ppc64le", "mips64el": "mips64le",
}  # fmt: skip
_VARIANTS = {"armhf": "v7", "armel": "v6", "armv7l": "v7", "armv6l": "v6", "armv5tel": "v5"}
_DEBIAN = {"386": "i386", "arm/v7": "armhf", "arm/v6": "armel", "arm/v5": "armel", "ppc64le": "ppc64el",
           "mips64le": "mips64el"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Platform:
    """`os/architecture[/variant]` in its normal form: `linux/arm64` has no variant, `linux/arm` has v7."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `linux/arm/v7`, `amd64`, `aarch64`, `linux`. Raises `UsageError`."""
        parts = text.strip().lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(p and p.replace("_", "").replace("-", "").isalnum() for p in parts):
            raise UsageError(f"not a platform: {text!r}", hint="write os/architecture[/variant], e.g. linux/arm64")
        if len(parts) == 1:
            host = cls.host()
            if parts[0] in ("linux", "windows", "darwin", "freebsd"):
                return cls(parts[0], host.architecture, host.variant)
            parts = [host.os, parts[0]]
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else "").normal()

    def normal(self) -> Platform:
        """The form that compares equal for all spellings of one platform."""
        arch = self.architecture.lower()
        variant = self.variant.lower() or _VARIANTS.get(arch, "")
        arch = "arm" if arch in _VARIANTS else _ARCHITECTURES.get(arch, arch)
        if variant.isdigit():
            variant = f"v{variant}"
        if (arch, variant) in (("arm64", "v8"), ("amd64", "v1")):
            variant = ""
        if arch == "arm" and not variant:
            variant = "v7"
        return Platform(self.os.lower(), arch, variant)

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine, as Linux containers see it."""
        return cls("linux", os.uname().machine).normal()

    def runs(self, image: Platform) -> bool:
        """Whether a machine of this platform runs an image of that one without an emulator."""
        mine, other = self.normal(), image.normal()
        if (mine.os, mine.architecture) != (other.os, other.architecture):
            return False
        return _level(mine.variant) >= _level(other.variant)

    @property
    def debian(self) -> str:
        """The name of Debian's architecture, e.g. `armhf`."""
        normal = self.normal()
        key = f"{normal.architecture}/{normal.variant}" if normal.variant else normal.architecture
        return _DEBIAN.get(key, normal.architecture)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _level(variant: str) -> int:
    return int(variant[1:]) if variant[1:].isdigit() else 0
