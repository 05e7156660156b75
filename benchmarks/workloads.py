"""What is built: contexts written to disk, the same bytes for the same seed on every machine."""

from __future__ import annotations

import os
import random
import shutil
import string
from dataclasses import dataclass
from pathlib import Path

COMPILER = "localhost/bench-cc:1"
SLIM = "localhost/bench-slim:1"

_STAGES = f"""\
FROM {COMPILER} AS build
COPY src/ /src/
WORKDIR /src
RUN gcc -O2 -c main.c && gcc -O2 -c text.c && gcc -o greet main.o text.o && ./greet
FROM {SLIM}
COPY etc/ /etc/greet/
WORKDIR /srv
COPY --from=build /src/greet /usr/local/bin/greet
ENV GREETING=hello
CMD ["greet"]
"""

_MAIN = """\
#include <stdio.h>
const char *text(void);
int main(void) { printf("%%s %d\\n", text()); return 0; }
"""

_TEXT = """\
#include <ctype.h>
#include <string.h>
static char line[64];
const char *text(void) {
    strcpy(line, "number %d");
    for (char *at = line; *at; at++) *at = (char) toupper((unsigned char) *at);
    return line;
}
"""


@dataclass(frozen=True)
class Program:
    """A C program of two files, compiled on one base and copied onto another. `seed` changes its text."""

    name: str = "stages"

    def write(self, root: Path, seed: int) -> None:
        """The whole context, in an empty directory."""
        _text(root / "Dockerfile", _STAGES)
        _text(root / "src" / "main.c", _MAIN % seed)
        _text(root / "src" / "text.c", _TEXT % seed)
        for number in range(20):
            _text(root / "etc" / f"{number}.conf", f"number = {number}\nseed = {seed}\n")

    def change(self, root: Path, seed: int) -> None:
        """One source file is edited."""
        _text(root / "src" / "main.c", _MAIN % seed)


@dataclass(frozen=True)
class Files:
    """Many small text files (4 KB on average, 100 a directory), copied whole."""

    name: str = "files"
    count: int = 20_000
    mean: int = 4_096

    def write(self, root: Path, seed: int) -> None:
        """The whole context, in an empty directory."""
        _text(root / "Dockerfile", f"FROM {SLIM}\nCOPY . /app\n")
        chance = random.Random(seed)
        text = _prose(chance, 1 << 20)
        for number in range(self.count):
            path = self._path(root, number)
            if number % 100 == 0:
                path.parent.mkdir(parents=True)
            size = min(int(chance.expovariate(1 / self.mean)), 16 * self.mean)
            start = chance.randrange(len(text) - 16 * self.mean)
            path.write_bytes(text[start : start + size])

    def change(self, root: Path, seed: int) -> None:
        """One file in the middle is edited."""
        _text(self._path(root, self.count // 2), f"changed {seed}\n")

    def _path(self, root: Path, number: int) -> Path:
        return root / "src" / f"{number // 1000:03}" / f"{number // 100 % 10}" / f"file{number:06}.txt"


def fresh(workload: Program | Files, root: Path, seed: int) -> None:
    """Write a context anew, on the disk and not only in memory."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    workload.write(root, seed)
    os.sync()


def _prose(chance: random.Random, size: int) -> bytes:
    """Words that compress about as source code does."""
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(3000)]
    return " ".join(chance.choices(words, k=size // 4)).encode()[:size]


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
