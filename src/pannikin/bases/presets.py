"""Sets of packages with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pannikin.errors import UsageError

Mode = Literal["full", "distroless"]


@dataclass(frozen=True, slots=True)
class Preset:
    """What a named base holds. `names` are added to the minimal system in `full` mode, and are all in `distroless`."""

    about: str
    mode: Mode
    names: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()


_STATIC = ("base-files", "ca-certificates", "netbase", "tzdata")
_BASE = (*_STATIC, "libc6", "libssl3")
_TOOLS = ("ca-certificates", "curl", "gnupg", "netbase", "tzdata", "wget")
_SCM = ("git", "mercurial", "openssh-client", "procps", "subversion")
_COMPILERS = (
    "autoconf", "automake", "bzip2", "default-libmysqlclient-dev", "dpkg-dev", "file", "g++", "gcc", "imagemagick",
    "libbz2-dev", "libc6-dev", "libcurl4-openssl-dev", "libdb-dev", "libevent-dev", "libffi-dev", "libgdbm-dev",
    "libglib2.0-dev", "libgmp-dev", "libjpeg-dev", "libkrb5-dev", "liblzma-dev", "libmagickcore-dev",
    "libmagickwand-dev", "libmaxminddb-dev", "libncurses-dev", "libpng-dev", "libpq-dev", "libreadline-dev",
    "libsqlite3-dev", "libssl-dev", "libtool", "libwebp-dev", "libxml2-dev", "libxslt1-dev", "libyaml-dev", "make",
    "patch", "unzip", "xz-utils", "zlib1g-dev",
)  # fmt: skip

PRESETS: dict[str, Preset] = {
    "static": Preset("for static binaries: certificates, time zones, users", "distroless", _STATIC),
    "base": Preset("for programs that link the C library and OpenSSL", "distroless", _BASE),
    "cc": Preset(
        "for C++, Rust and cgo programs: base and the compilers' run-time libraries", "distroless",
        (*_BASE, "libgcc-s1", "libgomp1", "libstdc++6"),
    ),
    "python": Preset(
        "Python with its whole standard library", "distroless", (*_BASE, "python3"), entrypoint=("/usr/bin/python3",)
    ),
    "minbase": Preset("a minimal Debian: Essential, required, apt", "full", (), cmd=("bash",)),
    "slim": Preset("minbase with certificates", "full", ("ca-certificates",), cmd=("bash",)),
    "buildpack": Preset(
        "compilers, headers and version control, as a big base carries", "full", (*_TOOLS, *_SCM, *_COMPILERS),
        cmd=("bash",),
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """A preset by its name. Raises `UsageError` with the names that there are."""
    if name in PRESETS:
        return PRESETS[name]
    import difflib

    near = difflib.get_close_matches(name, PRESETS, 1)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(PRESETS)}"
    raise UsageError(f"no preset {name}", hint=hint)
