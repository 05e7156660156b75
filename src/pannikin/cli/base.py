"""`pannikin base`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pannikin.cli import options
from pannikin.errors import UsageError
from pannikin.toolchain import BaseRequest, Built, Toolchain

_DROPS = ("docs", "man", "locales", "caches", "gconv", "zoneinfo-variants")


@click.command(context_settings={"auto_envvar_prefix": "PANNIKIN_BASE"})
@click.argument("packages", nargs=-1)
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name of the image; may be repeated.")
@click.option(
    "--preset",
    metavar="NAME",
    help="A named set: static, base, cc, python (distroless); minbase, slim, buildpack (full).",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "distroless"]),
    help="full: configured, with apt and dpkg; distroless: files only.",
)
@click.option("--include", multiple=True, metavar="PKG[,PKG]", help="More packages (as the arguments).")
@click.option("--recommends", is_flag=True, help="Take recommended packages too.")
@click.option(
    "--drop",
    multiple=True,
    type=click.Choice([*_DROPS, "none"]),
    help="Leave out; may be repeated [distroless: all; full: none].",
)
@click.option("--mirror", metavar="URL|DIR", help="Instead of the host's apt configuration.")
@click.option(
    "--suite", "suites", multiple=True, metavar="SUITE", help="Suite of --mirror, or the host's suites to use."
)
@click.option(
    "--components", default="main", show_default=True, metavar="LIST", help="Components of --mirror, with commas."
)
@click.option("--keyring", metavar="FILE", help="OpenPGP keys that must have signed --mirror.")
@click.option("--platform", metavar="OS/ARCH", help="Platform of the image [this machine's].")
@click.option(
    "--user", metavar="USER", default="", help="User of the image; nonroot (65532) is there in distroless bases."
)
@click.option("--entrypoint", metavar="PROGRAM", multiple=True, help="Entrypoint; repeated for its arguments.")
@click.option("--cmd", metavar="WORD", multiple=True, help="Default command; repeated for its arguments.")
@click.option("-e", "--env", multiple=True, metavar="KEY=VALUE", help="Variable of the image.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of the image.")
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="A Dockerfile instruction for the configuration, e.g. 'ONBUILD COPY . .'.",
)
@click.option("--no-cache", is_flag=True, help="Make every layer anew.")
@click.option("--list-presets", is_flag=True, help="Show the presets and what is in them.")
@options.progress
@options.as_json
@click.pass_obj
def base(root: Path | None, /, **given: Any) -> None:
    """Make a base image from distribution packages: no registry, no root file system to start from.

    Mirrors and keys are the host's own apt configuration, unless --mirror names another archive.

    \b
    pannikin base --preset minbase -t debian:slim
    pannikin base --mode full -t tools curl git
    pannikin base --preset static -t static --user nonroot
    pannikin base --preset python --include python3-yaml -t python
    """
    from pannikin.cli import screen

    if given["list_presets"]:
        _list_presets()
        return
    request = _request(given)
    tools = Toolchain(root)
    tools.enter()
    with screen.showing(given["progress"]):
        built = tools.base(request)
    _report(built, given["as_json"])


def _request(given: dict[str, Any]) -> BaseRequest:
    from pannikin import bases
    from pannikin.oci.platform import Platform
    from pannikin.packages import deb

    chosen = bases.preset(given["preset"]) if given["preset"] else None
    names = [*given["packages"], *(name for text in given["include"] for name in text.split(",") if name)]
    mode = given["mode"] or (chosen.mode if chosen else "full")
    if chosen and mode != chosen.mode:
        raise UsageError(f"the preset {given['preset']} is {chosen.mode}, not {mode}")
    sources = _sources(given)
    recipe = bases.Recipe(
        mode=mode,
        names=tuple(dict.fromkeys([*(chosen.names if chosen else ()), *names])),
        drop=None if not given["drop"] else tuple(d for d in given["drop"] if d != "none"),
        recommends=given["recommends"],
        sources=tuple(source.stanza() for source in deb.portable(sources)) if mode == "full" else (),
        user=given["user"],
        entrypoint=given["entrypoint"] or (chosen.entrypoint if chosen else ()),
        cmd=given["cmd"] or (chosen.cmd if chosen else ("bash",) if mode == "full" else ()),
        env=tuple(options.pairs(given["env"], "--env").items()),
        labels=tuple(options.pairs(given["labels"], "--label").items()),
        title=given["preset"] or f"{mode} base",
    )
    platform = Platform.parse(given["platform"]) if given["platform"] else None
    return BaseRequest(
        recipe, sources, tags=given["tags"], changes=given["changes"], platform=platform, no_cache=given["no_cache"]
    )


def _sources(given: dict[str, Any]) -> list[Any]:
    from dataclasses import replace

    from pannikin.packages import deb

    if given["mirror"]:
        return [deb.explicit(given["mirror"], given["suites"], given["components"].split(","), given["keyring"])]
    if given["keyring"]:
        raise UsageError("--keyring goes with --mirror")
    found = list(deb.from_host())
    if given["suites"]:
        chosen = [replace(s, suites=tuple(x for x in s.suites if x in given["suites"])) for s in found]
        found = [source for source in chosen if source.suites]
        if not found:
            raise UsageError(
                f"the host's apt configuration has no suite {', '.join(given['suites'])}", hint="name a --mirror"
            )
    return found


def _list_presets() -> None:
    from pannikin import bases
    from pannikin.cli import screen

    rows = [[name, one.mode, one.about, " ".join(one.names)] for name, one in bases.PRESETS.items()]
    screen.table(["PRESET", "MODE", "FOR", "PACKAGES"], rows)


def _report(built: Built, as_json: bool) -> None:
    from pannikin.cli import screen
    from pannikin.cli.build import summary
    from pannikin.oci.reference import Reference

    if as_json:
        screen.dump(summary(built))
        return
    named = " ".join(Reference.parse(tag).familiar for tag in built.tags)
    about = f"{screen.size(built.image.compressed_size)} compressed, {built.seconds:.2f} s"
    click.echo(f"{built.image.digest} {named}".rstrip() + f" ({about})", err=True)
