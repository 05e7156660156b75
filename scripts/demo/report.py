"""report.html: the figures with charts, in one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import charts

_CSS = Path(__file__).with_name("report.css")


def page(figures: dict[str, Any]) -> str:
    """The whole page. `figures` is what report.json holds."""
    data = json.dumps(figures, indent=1).replace("</", "<\\/")
    body = [_top(figures), *(_app(app) for app in figures["apps"]), _times(figures), _bases(figures), _again(figures)]
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pannikin: big and small container images</title>
<style>{_CSS.read_text()}</style>
{"".join(body)}
<script type="application/json" id="figures">
{data}
</script>
</html>
"""


def _mb(size: float) -> str:
    return f"{size / 1e6:,.1f}" if size < 100e6 else f"{size / 1e6:,.0f}"


def _times_smaller(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"


def _top(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB of memory" if machine["memory"] else ""
    tiles = [
        (
            _times_smaller(image["times_smaller"]),
            f"{app['title']}: {_mb(big['unpacked'])} → {_mb(image['unpacked'])} MB",
        )
        for app in figures["apps"]
        for big, image in [(app["images"][0], min(app["images"], key=lambda one: one["unpacked"]))]
    ]
    images = [image for app in figures["apps"] for image in app["images"]]
    cached = max(image["cached_seconds"] for image in images)
    tiles.append((f"{cached:.2f} s", f"the slowest of {len(images)} unchanged builds, as a whole process"))
    shown = "".join(
        f"<div class=tile><b>{escape(number)}</b><span>{escape(text)}</span></div>" for number, text in tiles
    )
    return f"""
<h1>The same applications, as big images and as small ones</h1>
<p class=soft>{escape(figures["date"].replace("T", " ").replace("+00:00", " UTC"))} · {escape(machine["system"])} ·
{escape(machine["processor"])}, {machine["cores"]} cores, {memory} · made by <code>make demo</code></p>
<p>Every image here was built from Debian's packages and its own sources, started, asked for its page over HTTP, and
stopped. Sizes are counted from the image itself: <em>unpacked</em> is what its layers take on disk, <em>compressed</em>
what a pull transfers; MB are 10<sup>6</sup> bytes.</p>
<div class=tiles>{shown}</div>
"""


def _app(app: dict[str, Any]) -> str:
    images = app["images"]
    series = [
        charts.Series(
            f"{word} MB", style, [image[word] for image in images], [f"{_mb(image[word])} MB" for image in images]
        )
        for word, style in (("unpacked", "first"), ("compressed", "second"))
    ]
    rows = [
        (
            f"<b>{escape(image['name'])}</b><small>{escape(image['about'])}</small>", _mb(image["unpacked"]),
            _mb(image["compressed"]), f"{image['files']:,}", str(image["layers"]), f"{image['times_smaller']:,.1f}",
        )
        for image in images
    ]  # fmt: skip
    heads = ("image", "unpacked MB", "compressed MB", "files", "layers", "times smaller")
    return f"""
<h2>{escape(app["title"])}</h2>
<p>{escape(app["text"])}</p>
{_figure(f"Size of {app['name']}", [image["name"] for image in images], series)}
{_table(heads, rows)}
{_remark(app)}
"""


def _remark(app: dict[str, Any]) -> str:
    if app["name"] == "node-hello":
        sizes = {image["name"].partition(":")[2]: image for image in app["images"]}
        ours, theirs = sizes["slim"], sizes["upstream"]
        smaller = "Debian's" if ours["unpacked"] < theirs["unpacked"] else "the registry's"
        return (
            f"<p>Node.js itself is nearly all that is left. Debian's ({escape(_version(ours))}) makes an image of "
            f"{_mb(ours['unpacked'])} MB, the npm registry's long-term release ({escape(_version(theirs))}, stripped) "
            f"one of {_mb(theirs['unpacked'])} MB: {smaller} ends smaller.</p>"
        )
    return (
        "<p>The compiler is needed to build the program, not to run it: two stages leave it behind. What "
        "<code>static</code> has over <code>scratch</code> is certificates, time zones and user names.</p>"
    )


def _version(image: dict[str, Any]) -> str:
    words: list[str] = image["runtime"].split()
    return next((word for word in words if word.startswith("v")), "")


def _times(figures: dict[str, Any]) -> str:
    images = [image for app in figures["apps"] for image in app["images"]]
    names = [image["name"] for image in images]
    cold = [image["cold_seconds"] for image in images]
    cached = [image["cached_seconds"] for image in images]
    series = [
        charts.Series("cold s", "first", cold, [f"{one:.1f} s" for one in cold]),
        charts.Series("cached s", "second", cached, [f"{one:.2f} s" for one in cached]),
    ]
    rows = [
        (
            f"<b>{escape(image['name'])}</b>", f"{image['cold_seconds']:.1f}", f"{image['cached_seconds']:.2f}",
            f"{image['first_page_seconds']:.2f}", f"{image['stop_seconds']:.2f}", str(image["exit_code"]),
            f'<span class=nowrap>{escape(image["measured"][:16].replace("T", " "))}</span>',
        )
        for image in images
    ]  # fmt: skip
    heads = ("image", "cold s", "cached s", "first page s", "stop s", "exit code", "cold measured (UTC)")
    note = (
        "<p>Cold: nothing of the image in the cache, its base there; packages of npm come over the network. Cached: "
        "the same command again, as a whole process, median of three. First page: from the start of <code>pannikin "
        "run</code> to an answered request. Stop: from SIGTERM to the end; <code>npm start</code>, as the onbuild "
        "image has it, answers with exit code 1 though the server ends cleanly.</p>"
    )
    return f"<h2>Build and start times</h2>{note}{_figure('Seconds to build', names, series)}{_table(heads, rows)}"


def _bases(figures: dict[str, Any]) -> str:
    rows = [
        (
            f"<b>{escape(base['name'])}</b><small>{escape(base['about'])}</small>", _mb(base["unpacked"]),
            _mb(base["compressed"]), f"{base['files']:,}", str(base["layers"]), f"{base['cold_seconds']:.1f}",
        )
        for base in figures["bases"]
    ]  # fmt: skip
    heads = ("base", "unpacked MB", "compressed MB", "files", "layers", "first made in s")
    return f"""
<h2>The bases</h2>
<p>Made by <code>pannikin base</code> from the packages of the host's own Debian mirrors, downloads included. Those that
share packages or whole layers with one above are faster for it.</p>
{_table(heads, rows)}
"""


def _again(figures: dict[str, Any]) -> str:
    commands = [one["command"] for one in figures["bases"]]
    commands += [image["command"] for app in figures["apps"] for image in app["images"]]
    goals = "".join(
        f"<tr><td>{escape(one['image'])}</td><td class=text>at least {one['times']} times smaller than the big one"
        + (f", under {one['below'] / 1e6:.0f} MB unpacked" if one["below"] else "")
        + f"</td><td class={'met' if one['met'] else 'missed'}>{'met' if one['met'] else 'missed'}</td></tr>"
        for one in figures["goals"]
    )
    return f"""
<h2>Goals</h2>
<table>{goals}</table>
<h2>Make it again</h2>
<p><code>make demo</code> on Debian or Ubuntu. A second run takes seconds;
<code>.venv/bin/python scripts/demo --fresh</code> measures the cold builds anew. One by one:</p>
<pre>export PANNIKIN_ROOT=build/demo-store
{escape(chr(10).join(commands))}</pre>
<p class=soft>All figures as JSON: at the end of this page's source, and in report.json beside it.</p>
"""


def _figure(title: str, groups: Sequence[str], series: Sequence[charts.Series]) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{charts.bars(title, groups, series)}</figure>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
