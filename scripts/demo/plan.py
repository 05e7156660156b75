"""What the demo builds: the bases, and the images on them, from the biggest to the smallest."""

from __future__ import annotations

from dataclasses import dataclass

_LEAN = ("--drop", "docs", "--drop", "man", "--drop", "locales", "--drop", "caches")


@dataclass(frozen=True)
class Base:
    """A base image: `args` are those of `pannikin base` besides the name."""

    name: str
    about: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """An image of an application. `clean_stop`: it must end with exit code 0 when it gets SIGTERM."""

    app: str
    variant: str
    about: str
    clean_stop: bool = True

    @property
    def name(self) -> str:
        return f"{self.app}:{self.variant}"

    @property
    def context(self) -> str:
        return f"examples/{self.app}"

    @property
    def dockerfile(self) -> str:
        return f"{self.context}/Dockerfile.{self.variant}"

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments of pannikin that build it."""
        return ("build", "-t", self.name, "-f", self.dockerfile, self.context)


@dataclass(frozen=True)
class App:
    """An application and its images; the first is what the others are compared with."""

    name: str
    title: str
    text: str
    images: tuple[Recipe, ...]


_NODE_TRIGGERS = (
    "ONBUILD WORKDIR /usr/src/app",
    "ONBUILD COPY package*.json ./",
    "ONBUILD RUN npm ci && rm -rf /root/.npm",
    "ONBUILD COPY . .",
    'CMD ["npm", "start"]',
)
_GO_TRIGGERS = (
    "ONBUILD WORKDIR /go/src/app",
    "ONBUILD COPY . .",
    "ONBUILD RUN go build -o /usr/local/bin/app . && rm -rf /root/.cache",
    'CMD ["app"]',
)


def _changes(instructions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for instruction in instructions for word in ("--change", instruction))


BASES = (
    Base(
        "node", "compilers, headers, git, Node.js and npm",
        ("--preset", "buildpack", "--include", "nodejs,npm"),
    ),
    Base(
        "node:onbuild", "the same, with triggers that install and copy an application",
        ("--preset", "buildpack", "--include", "nodejs,npm", *_changes(_NODE_TRIGGERS)),
    ),
    Base("node:debian", "a minimal Debian with its Node.js", ("--preset", "slim", "--include", "nodejs", *_LEAN)),
    Base(
        "node:slim", "Node.js and the libraries that it links: no shell, no package manager",
        ("--mode", "distroless", "nodejs", "ca-certificates", "tzdata"),
    ),
    Base("cc", "the C and C++ run-time libraries, OpenSSL, certificates", ("--preset", "cc")),
    Base(
        "golang:onbuild", "compilers, headers, git and Go, with triggers that copy and build",
        ("--preset", "buildpack", "--include", "golang-go", *_changes(_GO_TRIGGERS)),
    ),
    Base("golang:slim", "a minimal Debian with Go", ("--preset", "slim", "--include", "golang-go", *_LEAN)),
    Base("static", "certificates, time zones and users, for a static program", ("--preset", "static")),
)  # fmt: skip

APPS = (
    App(
        "node-hello", "Node.js", "A web server on Express, one dependency that brings 70 more.",
        (
            Recipe("node-hello", "onbuild", "two lines on the big base", clean_stop=False),
            Recipe("node-hello", "debian", "multi-stage, on a minimal Debian with a shell and apt"),
            Recipe("node-hello", "upstream", "multi-stage, Node.js 24 of the npm registry, stripped, on the cc base"),
            Recipe("node-hello", "slim", "multi-stage, Debian's Node.js and its libraries only"),
        ),
    ),
    App(
        "go-hello", "Go", "A web server on Go's standard library.",
        (
            Recipe("go-hello", "onbuild", "two lines on the big base"),
            Recipe("go-hello", "slim", "one stage on a minimal Debian with Go"),
            Recipe("go-hello", "static", "multi-stage, the program on the static base"),
            Recipe("go-hello", "scratch", "multi-stage, the program and nothing else"),
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """`image` is to be at least `times` smaller than its application's big one, and under `below` bytes unpacked."""

    image: str
    times: float
    below: int | None = None


GOALS = (Goal("node-hello:slim", 8), Goal("go-hello:static", 80, 8_000_000), Goal("go-hello:scratch", 80, 8_000_000))
