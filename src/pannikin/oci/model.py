"""Descriptors, manifests, indexes and configs (image-spec 1.1) as values that lose nothing.

A document is decoded into a typed struct; what the struct does not name is kept in `extra` at every depth, so
that a round trip gives back every field. The digest of a document is always over its raw bytes: keep those
beside the value, and encode anew only what was changed.
"""

from __future__ import annotations

from typing import Any, Self

import msgspec

from pannikin.errors import Corrupt
from pannikin.oci.digest import Digest
from pannikin.oci.platform import Platform

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_PLAIN = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({INDEX, DOCKER_LIST})

REF_NAME = "org.opencontainers.image.ref.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH where an image sets none: docker's own default."""

MAX_DOCUMENT = 4 << 20
"""Bytes: no manifest, index or config larger than this is read (distribution's own limit)."""


class Document(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """A JSON object of the specification, with room for what it does not name."""

    extra: dict[str, Any] = msgspec.field(default_factory=dict, name="x-pannikin-extra")

    @classmethod
    def decode(cls, raw: bytes, what: str = "document") -> Self:
        """Read a document. Raises `Corrupt` where it is not valid JSON of this type, or too large."""
        if len(raw) > MAX_DOCUMENT:
            raise Corrupt(f"{what} is too large", why=f"{len(raw)} bytes; the limit is {MAX_DOCUMENT}")
        try:
            tree = _without_nulls(msgspec.json.decode(raw))
            value = msgspec.convert(tree, cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Corrupt(f"{what} is not a valid {cls.__name__.lower()}", why=str(error)) from None
        _absorb(value, tree)
        return value

    def encode(self) -> bytes:
        """Canonical bytes: the specification's fields in its order, then the unknown ones; no white space."""
        return msgspec.json.encode(self.builtins())

    def builtins(self) -> dict[str, Any]:
        """The document as plain dicts and lists, unknown fields included."""
        tree = {}
        for name, encoded in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            value = getattr(self, name)
            if name != "extra" and value is not None and (value or name in _ALWAYS):
                tree[encoded] = _plain(value)
        return tree | {key: value for key, value in self.extra.items() if key not in tree}


_ALWAYS = frozenset({"layers", "manifests", "diff_ids", "digest", "size"})
"""Fields that the specification requires, and that are written when they are empty too."""


def _without_nulls(tree: Any) -> Any:
    """Go writes an empty slice or map as null: the same as leaving it out."""
    if isinstance(tree, dict):
        return {key: _without_nulls(item) for key, item in tree.items() if item is not None}
    return [_without_nulls(item) for item in tree] if isinstance(tree, list) else tree


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return value.builtins()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _absorb(value: Any, tree: Any) -> None:
    """Keep in `extra` what the JSON object has and the struct does not, all the way down."""
    if isinstance(value, Document) and isinstance(tree, dict):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        known = {encoded: getattr(value, name) for encoded, name in names}
        value.extra = {key: item for key, item in tree.items() if key not in known}
        for key, inner in known.items():
            if key in tree:
                _absorb(inner, tree[key])
    elif isinstance(value, list | tuple) and isinstance(tree, list):
        for inner, item in zip(value, tree, strict=True):
            _absorb(inner, item)


class PlatformSpec(Document, kw_only=True):
    """A platform as an index writes it."""

    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] = msgspec.field(default_factory=list, name="os.features")
    variant: str = ""

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant).normal()

    @classmethod
    def of(cls, platform: Platform) -> PlatformSpec:
        return cls(architecture=platform.architecture, os=platform.os, variant=platform.variant)


class Descriptor(Document, kw_only=True):
    """What a blob is (media type), which one (digest) and how long (size, bytes)."""

    media_type: str
    digest: Digest
    size: int
    urls: list[str] = msgspec.field(default_factory=list)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    data: str | None = None
    artifact_type: str = ""
    platform: PlatformSpec | None = None

    def bare(self) -> Descriptor:
        """Media type, digest and size alone."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


class Manifest(Document, kw_only=True):
    """An image manifest: one config and an ordered list of layers, base first."""

    schema_version: int = 2
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Index(Document, kw_only=True):
    """An image index: manifests by platform."""

    schema_version: int = 2
    media_type: str = ""
    artifact_type: str = ""
    manifests: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Healthcheck(Document, kw_only=True, rename="pascal"):
    """Docker's extension of the config: how to ask a container whether it is well. Times are nanoseconds."""

    test: list[str] = msgspec.field(default_factory=list)
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(Document, kw_only=True, rename="pascal"):
    """The `config` object: how a container of the image starts."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class RootFS(Document, kw_only=True, rename=None):
    """The layers of the config, by the digests of their plain tars (diff IDs), base first."""

    type: str = "layers"
    diff_ids: list[Digest]


class History(Document, kw_only=True, rename=None):
    """What one instruction did; `empty_layer` where it made no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Config(Document, kw_only=True, rename=None):
    """An image's configuration (image-spec config.md)."""

    created: str = ""
    author: str = ""
    architecture: str = ""
    variant: str = ""
    os: str = "linux"
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] = msgspec.field(default_factory=list, name="os.features")
    config: RunConfig = msgspec.field(default_factory=RunConfig)
    rootfs: RootFS = msgspec.field(default_factory=lambda: RootFS(diff_ids=[]))
    history: list[History] = msgspec.field(default_factory=list)

    @property
    def platform(self) -> Platform:
        return Platform(self.os or "linux", self.architecture, self.variant).normal()
