"""What the graph's tests share: a small world of base images, and a way to draw a text in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pannikin.dockerfile import Drawn, Resolved, Source, Target, to_graph
from pannikin.errors import NotFound
from pannikin.graph import Node
from pannikin.oci import digest
from pannikin.oci.model import Config, History, RunConfig
from pannikin.oci.platform import Platform
from pannikin.oci.reference import Reference

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")

BASES: dict[str, Config] = {
    "debian": Config(
        created="2024-02-03T04:05:06.123456789Z", architecture="amd64",
        config=RunConfig(env=["PATH=/usr/bin", "LANG=C"], cmd=["bash"], labels={"from": "debian"}),
        history=[History(created_by="mmdebstrap", comment="base")],
    ),
    "node": Config(
        created="2025-01-01T00:00:00Z", architecture="amd64", author="them",
        config=RunConfig(
            env=["PATH=/node/bin"], entrypoint=["entry"], cmd=["node"], working_dir="/srv", user="node",
            exposed_ports={"1/tcp": {}}, volumes={"/v": {}}, shell=["/bin/bash", "-ec"], stop_signal="SIGINT",
        ),
    ),
    "onbuild": Config(
        created="2023-01-01T00:00:00Z", architecture="amd64",
        config=RunConfig(
            env=["PATH=/bin", "DIR=/app"], working_dir="/app",
            on_build=["COPY package.json $DIR/", "RUN npm install", "ENV READY=1"],
        ),
    ),
    "old": Config(created="1970-01-01T00:00:00Z", architecture="amd64", config=RunConfig()),
    "bad-trigger": Config(architecture="amd64", config=RunConfig(on_build=["FROM x"])),
    "broken-trigger": Config(architecture="amd64", config=RunConfig(on_build=["RUN ok", "NONSENSE"])),
}  # fmt: skip


class World:
    """Base images by their last name, and a record of what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def resolve(self, reference: Reference, platform: Platform) -> Resolved:
        self.asked.append((reference.familiar, str(platform)))
        name = reference.repository.rpartition("/")[2]
        if name not in BASES:
            raise NotFound(f"no image {reference.familiar}")
        config = Config.decode(BASES[name].encode())
        config.architecture = platform.architecture
        return Resolved(config, digest.of(f"{reference}{platform}".encode()))


def draw(
    text: str, world: World | None = None, *, platform: Platform = AMD64, ignore: tuple[str, ...] = (), **target: Any
) -> Drawn:
    """The graph of a Dockerfile in the small world."""
    return to_graph(Source(text, ignore=ignore), Target(platform=platform, **target), (world or World()).resolve)


def config(text: str, **target: Any) -> dict[str, Any]:
    """The whole configuration of the image that a text describes."""
    found: dict[str, Any] = json.loads(draw(text, **target).node.config)
    return found


def run_config(text: str, **target: Any) -> dict[str, Any]:
    """How a container of it starts."""
    found: dict[str, Any] = config(text, **target)["config"]
    return found


def history(text: str, **target: Any) -> list[str]:
    """The history lines that the build adds."""
    return [step.created_by for step in draw(text, **target).node.steps]


def layers(drawn: Drawn) -> list[Node]:
    """The chain of file systems of the image, base first."""
    chain: list[Node] = []
    node: Node | None = drawn.node.root
    while node is not None:
        chain.append(node)
        node = getattr(node, "base", None)
    return chain[::-1]


def environment(variables: Mapping[str, str]) -> list[str]:
    """Variables as a configuration writes them."""
    return [f"{name}={value}" for name, value in variables.items()]
