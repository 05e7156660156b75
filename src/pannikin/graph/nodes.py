"""Nodes of the build graph.

A node is what to do (its own fields) and to what (its fields that are nodes, in order). Nodes are frozen and
compare by value; `where` and `title`, which only people read, take no part in comparison or in the key.
Nothing of one machine stands in a definition: a context has a name, not a path.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import msgspec

from pannikin.errors import Span
from pannikin.oci.digest import Digest

FOR_PEOPLE = frozenset({"where", "title", "reference", "size", "filename"})
"""Fields that say nothing about the content: they take no part in keys and comparisons."""


class Node(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """The root of all nodes. `where` is the line that asked for it, `title` what progress shows."""

    where: Span | None = None
    title: str = ""

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that this one needs, in the order of its fields."""
        found: list[Node] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Node):
                found.append(value)
            elif isinstance(value, tuple):
                found += [one for one in value if isinstance(one, Node)]
                found += [one.node for one in value if isinstance(one, Made) and one.node is not None]
        return tuple(found)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Node) and self.identity == other.identity)

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def identity(self) -> str:
        """A digest of the definition and of the inputs' identities: equal nodes have the same one."""
        stack: list[Node] = [self]
        while stack:  # no recursion: a graph may be thousands of nodes deep
            node = stack[-1]
            missing = [one for one in node.inputs if "identity" not in one.__dict__]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node is not self and "identity" not in node.__dict__:
                node.__dict__["identity"] = node._digest()
        return self._digest()

    def _digest(self) -> str:
        parts = [definition(self).hex(), *(node.__dict__["identity"] for node in self.inputs)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def definition(node: Node) -> bytes:
    """The digest of a node's own fields, without its inputs: one half of its key."""
    fields = {
        name: _plain(getattr(node, name))
        for name in node.__struct_fields__
        if name not in FOR_PEOPLE and not isinstance(getattr(node, name), Node)
    }
    text = json.dumps([type(node).__name__, fields], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return "\0node"  # its identity is an input's; here counts only that there is one
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__ if name not in FOR_PEOPLE}
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value


class Scratch(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """No layers at all."""


class Image(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """The layers of an image that exists, by its manifest's digest. `reference` is for people and for pulling."""

    manifest: Digest
    reference: str = ""


class Context(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """Files that the user gives, under a name that the caller binds to a root (`"context"` is the build context).

    `select` are the cleaned source paths or patterns, relative to the root, that are wanted (empty: all);
    `ignore` are the lines of the ignore file in force. The key is the content of what is selected.
    """

    name: str = "context"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class Package(msgspec.Struct, frozen=True):
    """One package, pinned. `filename` is its path in the archive; `size` bytes; `sha256` hex of the file."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    filename: str


class Packages(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """Distribution packages unpacked over `base`.

    `mode` is `full` (configured: maintainer scripts run) or `distroless` (files and records only). `drop` names
    what is left out: some of `docs`, `man`, `locales`, `caches`. `sources` are the lines or stanzas of the apt
    configuration that a full image gets. `epoch` is the newest time (seconds) that a layer's entry may carry.
    """

    base: Node
    packages: tuple[Package, ...]
    mode: str
    drop: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    epoch: int = 0


class Run(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """A command in the file system `base`.

    `args` is the whole argument vector (a shell form already has its shell); `env` is in order; `user` as the
    image's config says it (`name`, `uid`, `uid:gid`, empty for root); `network` is `host` or `none`.
    """

    base: Node
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    network: str = "host"
    epoch: int = 0


class Copy(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """Files of `source` (a Context or another file system) written over `base`.

    `paths` are cleaned source paths or patterns without a leading slash; `dest` is absolute, and ends in `/`
    where it must be a directory. `owner` is `user[:group]` by name or number (empty: 0:0 from a context, kept
    from a stage); `mode` is octal or None to keep; `unpack` opens local tar archives (ADD).
    """

    base: Node
    source: Node
    paths: tuple[str, ...]
    dest: str
    owner: str = ""
    mode: int | None = None
    unpack: bool = False
    epoch: int = 0


class Make(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """A directory that exists afterwards (WORKDIR), with its missing parents, owned by `owner`, mode 0755."""

    base: Node
    path: str
    owner: str = ""
    epoch: int = 0


class Made(msgspec.Struct, frozen=True):
    """One line of an image's history, and the node (if any) whose layer it describes."""

    created_by: str
    node: Node | None = None
    comment: str = ""
    author: str = ""


class Config(Node, frozen=True, kw_only=True, eq=False, dict=True):
    """A whole image: the layers of `root` under a configuration.

    `config` is the canonical JSON of the config object to write, without `rootfs` and with the base image's
    `history` in front; `steps` are the lines that this build adds. `epoch` (seconds) becomes `created`.
    """

    root: Node
    config: str
    steps: tuple[Made, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    epoch: int = 0

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The root, each step's node, and what each of those stands on: history tells which of them added a layer."""
        steps = [made.node for made in self.steps if made.node is not None]
        found = [self.root, *(node for step in steps for node in (step, *step.inputs[:1]))]
        return tuple(dict.fromkeys(found))
