"""Recipes to graphs, without packages or mirrors."""

import json

import pytest

from pannikin import graph
from pannikin.bases import PRESETS, Pins, Recipe, Request, preset, to_graph
from pannikin.errors import UsageError
from pannikin.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
MINIMAL = ("base-files", "dpkg")


class Resolver:
    """Answers with a package for each name that the base does not have; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Pins:
        self.asked.append(request)
        there = {package.name for package in request.installed}
        names = [*(MINIMAL if request.minimal else ()), *request.names]
        found = [graph.Package(name, "1", "amd64", name * 2, 1, f"pool/{name}") for name in names if name not in there]
        return Pins(tuple(found), 100 + len(found))


def make(recipe: Recipe) -> tuple[graph.Config, Resolver]:
    resolver = Resolver()
    return to_graph(recipe, AMD64, resolver), resolver


def test_full_is_two_layers_and_the_first_is_shared() -> None:
    one, asked = make(Recipe(mode="full", names=("git",), sources=("deb x",)))
    other, _ = make(Recipe(mode="full", names=("curl", "make"), sources=("deb x",), user="me"))
    top, below = one.root, one.root.inputs[0]
    assert isinstance(top, graph.Packages) and isinstance(below, graph.Packages)
    assert [package.name for package in below.packages] == list(MINIMAL)
    assert [package.name for package in top.packages] == ["git"] and top.sources == ()
    assert below.base == graph.Scratch() and below == other.root.inputs[0]
    assert asked.asked[1].installed == below.packages
    assert (below.epoch, top.epoch, one.epoch) == (102, 102, 102), "no layer is older than the one below"
    assert [step.node for step in one.steps] == [below, top]
    assert one.steps[0].created_by == "pannikin base --mode full: 2 packages (minimal system)"


def test_full_without_more_is_one_layer() -> None:
    for names in ((), ("dpkg",)):
        image, _ = make(Recipe(mode="full", names=names))
        assert image.root.inputs == (graph.Scratch(),)


def test_distroless_is_one_layer() -> None:
    image, resolver = make(Recipe(mode="distroless", names=("libc6", "ca-certificates"), user="nonroot"))
    assert isinstance(image.root, graph.Packages) and image.root.inputs == (graph.Scratch(),)
    assert resolver.asked == [Request(("libc6", "ca-certificates"), distroless=True)]
    assert "docs" in image.root.drop and "gconv" in image.root.drop
    config = json.loads(image.config)
    assert config["config"]["User"] == "65532" and config["config"]["WorkingDir"] == "/home/nonroot"
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in config["config"]["Env"]
    assert "rootfs" not in config and config["architecture"] == "amd64" and config["os"] == "linux"
    with pytest.raises(UsageError, match="needs packages"):
        make(Recipe(mode="distroless"))


def test_configuration() -> None:
    recipe = Recipe(
        mode="full", names=("git",), env=(("A", "1"), ("PATH", "/x")), cmd=("bash",), entrypoint=("/e",),
        labels=(("b", "2"), ("a", "1")), annotations=(("k", "v"),), on_build=("COPY . .",),
        workdir="/srv", drop=("man",),
    )  # fmt: skip
    image, _ = make(recipe)
    config = json.loads(image.config)["config"]
    assert config["Env"] == ["PATH=/x", "A=1"] and config["Cmd"] == ["bash"] and config["Entrypoint"] == ["/e"]
    assert config["Labels"] == {"a": "1", "b": "2"} and config["OnBuild"] == ["COPY . ."]
    assert config["WorkingDir"] == "/srv" and image.annotations == (("k", "v"),)
    assert isinstance(image.root, graph.Packages) and image.root.drop == ("man",)


def test_equal_recipes_are_equal_graphs() -> None:
    recipe = Recipe(mode="distroless", names=("libc6",), drop=("man", "docs"))
    again = Recipe(mode="distroless", names=("libc6",), drop=("docs", "man", "man"))
    assert make(recipe)[0].identity == make(again)[0].identity
    assert make(recipe)[0].identity != make(Recipe(mode="distroless", names=("libc6",)))[0].identity


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_graph(name: str) -> None:
    chosen = preset(name)
    image, _ = make(Recipe(mode=chosen.mode, names=chosen.names, entrypoint=chosen.entrypoint, cmd=chosen.cmd))
    assert isinstance(image.root, graph.Packages)


def test_unknown_preset() -> None:
    with pytest.raises(UsageError) as caught:
        preset("pyhton")
    assert caught.value.hint == "did you mean python?"
