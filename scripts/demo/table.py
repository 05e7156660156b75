"""The figures as a table for a terminal."""

from __future__ import annotations

import itertools
from typing import Any

_HEAD = ("image", "unpacked MB", "compressed MB", "files", "layers", "cold s", "cached s", "times smaller")


def row(image: dict[str, Any]) -> tuple[str, ...]:
    """An image's figures as text, in the order of the head. MB are 10^6 bytes."""
    return (
        image["name"], f"{image['unpacked'] / 1e6:,.1f}", f"{image['compressed'] / 1e6:,.1f}", f"{image['files']:,}",
        str(image["layers"]), f"{image['cold_seconds']:.1f}" + ("*" if image["cold_is_kept"] else ""),
        f"{image['cached_seconds']:.2f}", f"{image['times_smaller']:,.1f}",
    )  # fmt: skip


def draw(figures: dict[str, Any]) -> str:
    """The table, a block for each application."""
    blocks = [[row(image) for image in app["images"]] for app in figures["apps"]]
    widths = [max(len(line[i]) for line in (_HEAD, *itertools.chain(*blocks))) for i in range(len(_HEAD))]
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(_HEAD, widths)]
    for block in blocks:
        lines += [rule, *(_line(line, widths) for line in block)]
    lines.append("")
    if any(image["cold_is_kept"] for app in figures["apps"] for image in app["images"]):
        lines += ["* measured when the image was first built here (again with: scripts/demo --fresh)", ""]
    return "\n".join(lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
