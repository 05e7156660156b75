"""`pannikin inspect` and `history`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pannikin.cli import options
from pannikin.oci.image import Image
from pannikin.oci.platform import Platform
from pannikin.toolchain import Toolchain


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--raw", is_flag=True, help="Print the manifest's own bytes.")
@click.option("--config", "raw_config", is_flag=True, help="Print the configuration's own bytes.")
@click.option("--platform", metavar="OS/ARCH", help="Of an index, this platform's image.")
@click.pass_obj
def inspect(root: Path | None, names: tuple[str, ...], raw: bool, raw_config: bool, platform: str | None) -> None:
    """Show everything about an image, as JSON: digests, configuration, layers with their sizes (bytes).

    \b
    pannikin inspect app
    pannikin inspect --config app | jq .config.Env
    """
    from pannikin.cli import screen

    store = Toolchain(root).store
    wanted = Platform.parse(platform) if platform else None
    found = [store.find(name, wanted) for name in names]
    if raw or raw_config:
        for image in found:
            click.echo((image.raw_config if raw_config else image.raw).decode())
        return
    screen.dump([_about(image, name) for image, name in zip(found, names, strict=True)])


def _about(image: Image, name: str) -> dict[str, Any]:
    about: dict[str, Any] = {"name": name, "digest": image.digest, "media_type": image.descriptor.media_type}
    if image.is_index:
        return about | {"manifests": [d.builtins() for d in image.index.manifests]}
    layers = [
        {
            "digest": la.descriptor.digest,
            "diff_id": la.diff_id,
            "size": la.descriptor.size,
            "media_type": la.descriptor.media_type,
        }
        for la in image.layers
    ]
    return about | {
        "config_digest": image.manifest.config.digest,
        "platform": str(image.config.platform),
        "created": image.config.created,
        "compressed_size": image.compressed_size,
        "layers": layers,
        "annotations": image.manifest.annotations,
        "config": json.loads(image.raw_config),
    }


@click.command()
@click.argument("name")
@click.option("--no-trunc", is_flag=True, help="Print whole instructions.")
@options.as_json
@click.pass_obj
def history(root: Path | None, name: str, no_trunc: bool, as_json: bool) -> None:
    """Show what made each layer of an image, newest first, with compressed sizes.

    \b
    pannikin history app
    """
    from pannikin.cli import screen

    image = Toolchain(root).store.find(name, Platform.host())
    sizes = iter(layer.descriptor.size for layer in image.layers)
    rows = [
        {"created": line.created, "created_by": line.created_by, "comment": line.comment,
         "compressed_size": 0 if line.empty_layer else next(sizes, 0), "empty_layer": line.empty_layer}
        for line in image.config.history
    ][::-1]  # fmt: skip
    if as_json:
        screen.dump(rows)
        return
    lines = [
        [
            str(row["created"]),
            screen.size(int(str(row["compressed_size"]))),
            _cut(str(row["created_by"]), no_trunc),
            str(row["comment"]),
        ]
        for row in rows
    ]
    screen.table(["CREATED", "COMPRESSED", "CREATED BY", "COMMENT"], lines, right=(1,))


def _cut(text: str, whole: bool) -> str:
    text = " ".join(text.split())
    return text if whole or len(text) <= 70 else text[:69] + "…"
