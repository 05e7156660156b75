"""Paths inside a root: symlinks resolved as a process that was chrooted there would see them."""

from __future__ import annotations

from collections.abc import Callable

from pannikin.errors import Unsafe

LIMIT = 40
"""Symlinks followed in one path before it counts as a loop (Linux's own limit, path_resolution(7))."""


def resolve(path: str, readlink: Callable[[str], str | None], follow_last: bool = True) -> str:
    """The path with no symlink left in it: relative to the root, `/` between parts, "" for the root itself.

    `readlink(relative path)` gives a symlink's target, None for anything else (also what does not exist).
    Absolute targets and `..` start or stop at the root: the result never leaves it. Raises `Unsafe` on loops.
    """
    waiting = _parts(path)[::-1]
    done: list[str] = []
    followed = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            if done:
                done.pop()
            continue
        done.append(part)
        if not waiting and not follow_last:
            break
        target = readlink("/".join(done))
        if target is None:
            continue
        followed += 1
        if followed > LIMIT:
            raise Unsafe(f"too many symlinks in {path!r:.200}", why="they lead round in a circle")
        done = [] if target.startswith("/") else done[:-1]
        waiting += _parts(target)[::-1]
    return "/".join(done)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
