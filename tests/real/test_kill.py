"""kill -9 at any moment of a build: the store stays whole, nothing stays mounted or running, the next one is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.conftest import Cli, mounts, workers

KILLS = 20

DOCKERFILE = """\
FROM debian:test AS left
RUN for i in $(seq 300); do echo "$i $(seq -s ' ' 200)" > /srv/left$i; done; sleep 0.4
COPY data /srv/data
RUN tar -cf /srv/data.tar -C /srv data && rm -r /srv/data && sleep 0.3

FROM debian:test AS right
RUN mkdir /srv/d && for i in $(seq 100); do dd if=/dev/zero of=/srv/d/$i bs=64k count=4 status=none; done; sleep 0.4
RUN rm -rf /srv/d && mkdir /srv/d && echo kept > /srv/d/kept && sleep 0.3

FROM debian:test
COPY --from=left /srv /srv/left
COPY --from=right /srv /srv/right
RUN find /srv -type f | sort | xargs cat | sha256sum > /srv/sum && sleep 0.2
CMD ["cat", "/srv/sum"]
"""


def _context(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    (root / "Dockerfile").write_text(DOCKERFILE)
    chance = random.Random(7)
    for number in range(200):
        (root / "data" / f"{number}.bin").write_bytes(chance.randbytes(8_000))
    return root


@pytest.mark.root
@pytest.mark.network
@pytest.mark.slow
def test_killed_at_any_moment(with_debian: Cli, debian: Path, tmp_path: Path) -> None:
    context = _context(tmp_path / "context")
    undisturbed = Cli(tmp_path / "undisturbed")
    undisturbed.do("load", "-i", debian)
    began = time.monotonic()
    expected = undisturbed.build(context, "-t", "app")
    duration = time.monotonic() - began

    chance = random.Random(20)
    died = 0
    for number in range(KILLS):
        # Spread over the whole build, each at a random place of its twentieth; every build starts from nothing.
        moment = duration * (number + chance.random()) / KILLS
        died += _killed(with_debian, context, moment)
        said = with_debian.run("store", "check")
        assert said.returncode == 0, f"after {moment:.2f} s: {said.stdout}{said.stderr}"
    assert died >= KILLS * 3 // 4, "most kills must hit a build that is under way"
    assert with_debian.build(context, "-t", "app") == expected
    assert with_debian.run("run", "--rm", "app").stdout == undisturbed.run("run", "--rm", "app").stdout != ""
    leftovers = [path.name for path in (with_debian.root / "tmp").iterdir()]
    with_debian.do("prune")
    assert list((with_debian.root / "tmp").iterdir()) == [], leftovers
    assert with_debian.run("store", "check").returncode == 0


def _killed(cli: Cli, context: Path, moment: float) -> bool:
    """Start a build, kill it after so many seconds. Whether it was still at work then."""
    process = subprocess.Popen(
        cli.args("build", "--no-cache", "-t", "app", context),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(moment)
    working = process.poll() is None
    if working:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 2  # the kernel kills the container's processes after us, not before
    while (mounts(cli.root) or workers(cli.root)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mounts(cli.root) == []
    assert workers(cli.root) == []
    return working
