"""`pannikin build`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pannikin.cli import options
from pannikin.errors import UsageError
from pannikin.toolchain import BuildRequest, Built, Toolchain


@click.command(context_settings={"auto_envvar_prefix": "PANNIKIN_BUILD"})
@click.argument("context", metavar="PATH")
@click.option("-f", "--file", "file", metavar="FILE", help="The Dockerfile [PATH/Dockerfile]; - reads it from stdin.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name of the image; may be repeated.")
@click.option("--target", metavar="STAGE", help="Build this stage instead of the last one.")
@click.option(
    "--build-arg",
    "build_args",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Set an ARG; from the environment without a value.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Add a label.")
@click.option(
    "--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Add an annotation to the manifest."
)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Platform of the image [this machine's].")
@click.option(
    "--network", type=click.Choice(["host", "default", "none"]), default="host", help="Network of RUN commands."
)
@click.option("--no-cache", is_flag=True, help="Run every step, whatever is known already.")
@click.option("--pull", is_flag=True, help="Always look for newer bases in their registry (no registry is asked yet).")
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="type=TYPE[,dest=PATH]",
    help="image (default), oci, docker, dir or tar; may be repeated. PATH alone is type=dir, - is type=tar.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print the image's digest alone.")
@click.option("--iidfile", type=click.Path(path_type=Path, dir_okay=False), help="Write the image's digest to a file.")
@click.option("--cpus", type=click.FloatRange(min=0.01), help="Limit each RUN to so many cores.")
@click.option("-m", "--memory", metavar="BYTES", help="Limit each RUN's memory: 512m, 2g.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Steps that run at once.")
@options.progress
@options.as_json
@click.pass_obj
def build(root: Path | None, /, **given: Any) -> None:
    """Build an image from a Dockerfile.

    PATH is the build context: a directory, or - for none (the Dockerfile then comes from stdin).

    \b
    pannikin build -t app .
    pannikin build -t app:dev --target dev --build-arg VERSION=3 .
    pannikin build -o type=oci,dest=app.tar -f docker/Dockerfile .
    pannikin build -o out --target artifacts .
    """
    from pannikin.cli import output, screen

    tools = Toolchain(root)
    wanted = [output.parse(text) for text in given["outputs"]]
    request = _request(given)
    mode = "quiet" if given["quiet"] else given["progress"]
    tools.enter()
    with screen.showing(mode), tools.store.lease():
        built = tools.build(request)
        for one in wanted:
            output.write(one, built, tools)
    _report(built, given)


def _request(given: dict[str, Any]) -> BuildRequest:
    from pannikin.oci.platform import Platform

    context, file, text = given["context"], given["file"], None
    if context == "-" or file == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        file = None
    elif context.startswith(("http://", "https://", "git@", "git://", "ssh://")):
        raise UsageError("remote contexts are not supported yet", hint="fetch it first and give the directory")
    return BuildRequest(
        context=None if context == "-" else Path(context),
        dockerfile=Path(file) if file else None,
        text=text,
        tags=given["tags"],
        target=given["target"],
        build_args=options.pairs(given["build_args"], "--build-arg", from_environment=True),
        labels=options.pairs(given["labels"], "--label"),
        annotations=options.pairs(given["annotations"], "--annotation"),
        platform=Platform.parse(given["platform"]) if given["platform"] else None,
        network="none" if given["network"] == "none" else "host",
        no_cache=given["no_cache"],
        workers=given["workers"],
        cpus=given["cpus"],
        memory=options.quantity(given["memory"]) if given["memory"] else None,
    )


def _report(built: Built, given: dict[str, Any]) -> None:
    from pannikin.cli import screen

    for warning in built.warnings:
        screen.warn(warning)
    if given["iidfile"]:
        given["iidfile"].write_text(built.image.digest)
    if given["as_json"]:
        screen.dump(summary(built))
    elif given["quiet"]:
        click.echo(built.image.digest)
    else:
        from pannikin.oci.reference import Reference

        named = " ".join(Reference.parse(tag).familiar for tag in built.tags)
        count = len(built.image.manifest.layers)
        about = f"{screen.size(built.image.compressed_size)} compressed, {count} layers, {built.seconds:.2f} s"
        click.echo(f"{built.image.digest} {named}".rstrip() + f" ({about})", err=True)


def summary(built: Built) -> dict[str, Any]:
    """What `--json` prints of a build. Sizes are bytes."""
    image = built.image
    return {
        "digest": image.digest,
        "config_digest": image.manifest.config.digest,
        "tags": list(built.tags),
        "compressed_size": image.compressed_size,
        "layers": [
            {"diff_id": la.diff_id, "digest": la.descriptor.digest, "size": la.descriptor.size} for la in image.layers
        ],
        "steps_run": built.ran,
        "seconds": round(built.seconds, 3),
        "warnings": list(built.warnings),
    }
