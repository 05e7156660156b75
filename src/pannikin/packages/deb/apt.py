"""The host's apt configuration as far as a download needs it: proxies, certificates, credentials, date checks.

`apt-config dump` gives the merged configuration; where apt is not installed, its defaults hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_LINE = re.compile(r'^(\S+?)(?:::)? "(.*)";$')
_TRUE = frozenset({"1", "yes", "true", "with", "on", "enable"})
_FALSE = frozenset({"0", "no", "false", "without", "off", "disable"})


@dataclass(frozen=True)
class Credential:
    """One `machine` entry of apt_auth.conf(5): `machine` is `[scheme://]host[:port][/path]`."""

    machine: str
    login: str
    password: str = field(repr=False)

    def serves(self, url: str) -> bool:
        """Whether apt would send this login with a request for `url` (plain http only where the entry says so)."""
        parts = urlsplit(url)
        scheme, _, rest = self.machine.rpartition("://")
        if parts.scheme != (scheme or "https"):
            return False
        host, slash, path = rest.partition("/")
        if host not in (parts.netloc.rpartition("@")[2], parts.hostname):
            return False
        return parts.path.startswith("/" + path) if slash else True


@dataclass(frozen=True)
class AptConfig:
    """Settings of apt.conf(5) by lower-case name, the environment's proxies, and credentials by host."""

    values: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """The value of a setting, e.g. `Acquire::http::Proxy`."""
        return self.values.get(name.lower(), default)

    def flag(self, name: str, default: bool) -> bool:
        """A boolean setting, in any of apt's spellings."""
        word = self.get(name).lower()
        return True if word in _TRUE else False if word in _FALSE else default

    def proxy(self, url: str) -> str | None:
        """The proxy for a URL: apt's setting for the host, then for the scheme, then the environment."""
        parts = urlsplit(url)
        for name in (f"Acquire::{parts.scheme}::Proxy::{parts.hostname}", f"Acquire::{parts.scheme}::Proxy"):
            if setting := self.get(name):
                return None if setting.upper() in ("DIRECT", "FALSE") else setting
        if _exempt(parts.hostname or "", self._variable("no_proxy")):
            return None
        return self._variable(f"{parts.scheme}_proxy") or self._variable("all_proxy") or None

    def _variable(self, name: str) -> str:
        # An upper-case HTTP_PROXY can be set by a remote party in CGI; curl and apt ignore it as well.
        upper = "" if name == "http_proxy" else self.environ.get(name.upper(), "")
        return self.environ.get(name, "") or upper


def _exempt(host: str, names: str) -> bool:
    for name in (item.strip().lstrip(".") for item in names.split(",")):
        if name == "*" or (name and (host == name or host.endswith("." + name))):
            return True
    return False


def parse_dump(text: str) -> dict[str, str]:
    """`apt-config dump` as a mapping; of a list the last entry counts."""
    found = (_LINE.match(line) for line in text.splitlines())
    return {match[1].lower(): match[2] for match in found if match}


def parse_auth(text: str) -> list[Credential]:
    """The entries of an apt_auth.conf(5) file (the netrc format)."""
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    entries: list[dict[str, str]] = []
    for key, value in zip(words[::2], words[1::2], strict=False):
        if key == "machine":
            entries.append({"machine": value})
        elif entries:
            entries[-1][key] = value
    return [Credential(e["machine"], e.get("login", ""), e.get("password", "")) for e in entries]


def load(root: Path = Path("/")) -> AptConfig:
    """The configuration in force on this host."""
    import subprocess

    environ = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    try:
        done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
        values = parse_dump(done.stdout)
    except OSError:
        values = {}
    credentials: list[Credential] = []
    for path in [root / "etc/apt/auth.conf", *sorted((root / "etc/apt/auth.conf.d").glob("*.conf"))]:
        try:
            credentials += parse_auth(path.read_text(errors="replace"))
        except OSError:
            continue  # absent, or readable for root only: apt itself goes on without it
    return AptConfig(values, environ, tuple(credentials))
