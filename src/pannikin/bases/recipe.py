"""A recipe of packages -> the graph of an image.

A full base is two layers: the minimal system, which all full bases of one day share, and what was asked for
besides. A distroless base is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pannikin import graph
from pannikin.bases.presets import Mode
from pannikin.errors import UsageError
from pannikin.oci import model
from pannikin.oci.platform import Platform

DROPS: dict[str, tuple[str, ...]] = {
    "full": (),
    "distroless": ("docs", "man", "locales", "caches", "gconv", "zoneinfo-variants"),
}
"""What is left out where a recipe does not say."""
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
NONROOT = "65532"


@dataclass(frozen=True, slots=True)
class Request:
    """What packages a layer needs: `names`, on top of `installed`. `minimal` asks for the minimal system as well;
    `distroless` leaves out what only maintainer scripts need."""

    names: tuple[str, ...]
    installed: tuple[graph.Package, ...] = ()
    minimal: bool = False
    distroless: bool = False
    recommends: bool = False


@dataclass(frozen=True, slots=True)
class Pins:
    """The answer: packages in dependency order, and the date of the newest (epoch seconds)."""

    packages: tuple[graph.Package, ...]
    epoch: int


Resolve = Callable[[Request], Pins]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A base image. `drop` None means the mode's default; `sources` is what apt inside a full image gets;
    `user` is written as it stands, save that `nonroot` becomes its number in distroless images."""

    mode: Mode
    names: tuple[str, ...] = ()
    drop: tuple[str, ...] | None = None
    recommends: bool = False
    sources: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    on_build: tuple[str, ...] = ()
    title: str = ""


def to_graph(recipe: Recipe, target: Platform, resolve: Resolve) -> graph.Config:
    """The image of a recipe for one platform. `resolve` answers which packages there are.

    Raises what `resolve` raises, and `UsageError` for a distroless recipe without packages.
    """
    steps = _full(recipe, resolve) if recipe.mode == "full" else _distroless(recipe, resolve)
    top = steps[-1].node
    assert isinstance(top, graph.Packages)
    return graph.Config(
        root=top, config=_config(recipe, target, top), steps=tuple(steps),
        annotations=tuple(sorted(recipe.annotations)), epoch=top.epoch, title=recipe.title or f"{recipe.mode} base",
    )  # fmt: skip


def _full(recipe: Recipe, resolve: Resolve) -> list[graph.Made]:
    minimal = resolve(Request((), minimal=True))
    steps = [_made(_layer(recipe, graph.Scratch(), minimal, minimal.epoch, recipe.sources), "minimal system")]
    if recipe.names:
        # The minimal system may already be all that is asked for; then there is no second layer.
        more = resolve(Request(recipe.names, minimal.packages, recommends=recipe.recommends))
        if more.packages:
            below = steps[0].node
            assert below is not None
            layer = _layer(recipe, below, more, max(more.epoch, minimal.epoch), ())
            steps.append(_made(layer, " ".join(recipe.names)))
    return steps


def _distroless(recipe: Recipe, resolve: Resolve) -> list[graph.Made]:
    if not recipe.names:
        raise UsageError("a distroless base needs packages", hint="name some, or --preset static")
    pins = resolve(Request(recipe.names, distroless=True, recommends=recipe.recommends))
    return [_made(_layer(recipe, graph.Scratch(), pins, pins.epoch, ()), " ".join(recipe.names))]


def _layer(
    recipe: Recipe, below: graph.Node, pins: Pins, epoch: int, sources: tuple[str, ...]
) -> graph.Packages:  # fmt: skip
    drop = DROPS[recipe.mode] if recipe.drop is None else recipe.drop
    return graph.Packages(
        base=below, packages=pins.packages, mode=recipe.mode, drop=tuple(sorted(set(drop))), sources=sources,
        epoch=epoch, title=f"{recipe.mode}: {len(pins.packages)} packages",
    )  # fmt: skip


def _made(layer: graph.Packages, what: str) -> graph.Made:
    title = what if len(what) <= 60 else what[:57] + "..."
    return graph.Made(f"pannikin base --mode {layer.mode}: {len(layer.packages)} packages ({title})", layer)


def _config(recipe: Recipe, target: Platform, top: graph.Packages) -> str:
    distroless = recipe.mode == "distroless"
    env = {"PATH": model.DEFAULT_PATH}
    if distroless and any(package.name == "ca-certificates" for package in top.packages):
        # No directory of hashed certificates: OpenSSL is told of the bundle.
        env["SSL_CERT_FILE"] = BUNDLE
    env |= dict(recipe.env)
    nonroot = distroless and recipe.user == "nonroot"
    run = model.RunConfig(
        user=NONROOT if nonroot else recipe.user,
        env=[f"{name}={value}" for name, value in env.items()],
        entrypoint=list(recipe.entrypoint) or None,
        cmd=list(recipe.cmd) or None,
        working_dir=recipe.workdir or ("/home/nonroot" if nonroot else "/"),
        labels=dict(sorted(recipe.labels)) or None,
        on_build=list(recipe.on_build) or None,
    )
    config = model.Config(architecture=target.architecture, variant=target.variant, os=target.os, config=run)
    return _json(config)


def _json(config: model.Config) -> str:
    import msgspec

    tree = config.builtins()
    tree.pop("rootfs", None)
    return msgspec.json.encode(tree).decode()
