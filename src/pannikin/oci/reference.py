"""Image references, as docker and distribution read them (distribution/reference grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pannikin.errors import UsageError
from pannikin.oci import digest as digests
from pannikin.oci.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry/repository[:tag][@digest]`, with docker's defaults filled in.

    `Reference.parse("node:20")` is `docker.io/library/node:20`; without tag and digest the tag is `latest`.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as a person writes it. Raises `UsageError` with the part that is wrong."""
        name, _, digest = text.partition("@")
        pinned = digests.parse(digest) if digest else None
        if "@" in text and not digest:
            raise UsageError(f"not an image reference: {text!r}", why="nothing follows the @")
        tag: str | None = None
        head, colon, tail = name.rpartition(":")
        if colon and "/" not in tail:
            name, tag = head, tail
            if not _TAG.fullmatch(tag):
                raise UsageError(f"not an image reference: {text!r}", why=f"{tag!r} is not a tag")
        first, slash, rest = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            registry, path = first, rest
        else:
            registry, path = "docker.io", name
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = "docker.io"
        if not _HOST.fullmatch(registry):
            raise UsageError(f"not an image reference: {text!r}", why=f"{registry!r} is not a registry's name")
        if registry == "docker.io" and "/" not in path:
            path = f"library/{path}"
        if not _PATH.fullmatch(path) or len(registry) + len(path) > 254:
            lower = path.removeprefix("library/").lower()
            hint = f"write {lower!r}: names are in lower case" if lower not in path and _PATH.fullmatch(lower) else ""
            raise UsageError(f"not an image reference: {text!r}", why=f"{path!r} is not a repository's name", hint=hint)
        if re.fullmatch("[0-9a-f]{64}", path.removeprefix("library/")):
            raise UsageError(f"not an image reference: {text!r}", why="64 hex digits are an image ID, not a name")
        return cls(registry, path, tag or (None if pinned else "latest"), pinned)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short form that docker shows: without `docker.io/library/`."""
        text = str(self)
        if self.registry == "docker.io":
            text = text.removeprefix("docker.io/").removeprefix("library/")
        return text

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
