"""Which packages an image needs, as apt would choose them.

60,000 packages would take seconds to hand to the solver. Everything that a solution could contain is reached by
following names and provided names from what is wanted, so only that is looked at. Of several ways to meet a
dependency apt takes the first alternative, and of several providers of a virtual package the one of the highest
priority: these are favoured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pannikin.errors import NotFound, PannikinError, Unavailable
from pannikin.packages.deb.index import PackageIndex, Record
from pannikin.packages.deb.relations import Atom
from pannikin.packages.deb.solving import Needs, Pool, Reason, Without

_WANTED = re.compile(r"^(?P<name>[^=/:\s]+)(?::(?P<arch>[\w-]+))?(?:=(?P<version>\S+)|/(?P<suite>\S+))?$")
MERGED = ("usr-is-merged", "usrmerge")
"""A root of ours is born with /bin and /lib as links into /usr: the empty package says so, the script is not needed."""
_PRIORITIES = ("required", "important", "standard", "optional", "extra")


class Universe:
    """All candidates, looked up by name. Equal packages of several indexes count once, the first one's."""

    def __init__(self, indexes: Sequence[PackageIndex], architecture: str) -> None:
        self.indexes = indexes
        self.architecture = architecture

    def find(self, name: str) -> list[Record]:
        """Packages of this name."""
        return self._unique(record for index in self.indexes for record in index.find(name))

    def providers(self, name: str) -> list[Record]:
        """Packages that provide this name."""
        return self._unique(record for index in self.indexes for record in index.providers(name))

    def marks(self, mark: str) -> list[str]:
        """Names of packages that are `essential` or of a priority, sorted."""
        return sorted({record.name for index in self.indexes for record in self._unique(index.marks(mark))})

    def names(self) -> set[str]:
        """Every name that something has or provides."""
        return {name for index in self.indexes for name in (*index.names, *index.provides)}

    def _unique(self, records: Iterable[Record]) -> list[Record]:
        seen: dict[tuple[str, str, str], Record] = {}
        for record in records:
            if record.architecture in (self.architecture, "all"):
                seen.setdefault((record.name, record.version, record.architecture), record)
        return list(seen.values())


def resolve(
    universe: Universe, names: Sequence[str], *, recommends: bool = False, installed: Sequence[Record] = (),
    without: Without | None = None,
) -> list[Record]:  # fmt: skip
    """The packages to add to `installed` so that `names` and all that they need are there, dependencies first.

    A name may be `name=version`, `name/suite` or a virtual package. What is installed is neither changed nor
    removed. `without` says which dependencies need not be met. Raises `NotFound` for an unknown name and
    `Unavailable` where no set of packages fits.
    """
    there = {record.name for record in installed}
    needs = Needs(recommends, without)
    wanted = [group for text in names if not _met(text, group := candidates(universe, text), installed)]
    reached, favoured = _closure(universe, [r for group in wanted for r in group], needs)
    pool = Pool(universe.architecture, needs)
    pool.load(reached, installed)
    for group in wanted:
        pool.install(group)
    pool.keep()
    favoured |= {_preferred(group) for group in wanted if len({record.name for record in group}) > 1}
    pool.favour(favoured - there)
    answer = pool.solve()
    reasons = [one.text for one in answer if isinstance(one, Reason)]
    if reasons or (not answer and wanted):
        title = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        raise Unavailable(f"no set of packages fits {title}", why="; ".join(reasons[:4]) or "they exclude each other")
    return [one for one in answer if isinstance(one, Record)]


def candidates(universe: Universe, text: str) -> list[Record]:
    """The packages that meet one wanted name."""
    match = _WANTED.match(text)
    if not match:
        raise NotFound(f"not a package name: {text!r}", hint="name, name=version or name/suite")
    name = match["name"]
    found = universe.find(name) or universe.providers(name)
    if not found or match["arch"] not in (None, "any", "all", universe.architecture):
        raise _unknown(universe, text, name)
    if match["version"]:
        chosen = [record for record in found if record.version == match["version"]]
    elif match["suite"]:
        chosen = [record for record in found if match["suite"] in record.suite.split()]
    else:
        return found
    if not chosen:
        versions = ", ".join(sorted({f"{record.version} ({record.suite})" for record in found}))
        raise NotFound(f"no {text} in the archive", hint=f"there is {versions}")
    return chosen


def _unknown(universe: Universe, text: str, name: str) -> PannikinError:
    import difflib

    near = difflib.get_close_matches(name, universe.names(), 3, 0.75)
    hint = f"did you mean {' or '.join(near)}?" if near else "is its component enabled? (contrib, non-free)"
    return NotFound(f"no package {text} for {universe.architecture}", hint=hint)


def _met(text: str, group: Sequence[Record], installed: Sequence[Record]) -> bool:
    """Whether the base already has what was asked for: any version, unless one was named."""
    if "=" in text or "/" in text:
        return not {(one.name, one.version) for one in group}.isdisjoint((one.name, one.version) for one in installed)
    return not {one.name for one in group}.isdisjoint(one.name for one in installed)


def _closure(universe: Universe, first: Iterable[Record], needs: Needs) -> tuple[list[Record], set[str]]:
    """All that a solution may contain, and the names that apt would prefer among alternatives."""
    reached: dict[int, Record] = {}
    favoured: set[str] = set()
    queue = list(first)
    while queue:
        record = queue.pop()
        if id(record) in reached:
            continue
        reached[id(record)] = record
        for group in needs.all(record):
            found, best = _options(universe, group)
            if best == MERGED[1] and any(one.name == MERGED[0] for one in found):
                best = MERGED[0]
            queue += found
            if best:
                favoured.add(best)
    return list(reached.values()), favoured


def _options(universe: Universe, group: tuple[Atom, ...]) -> tuple[list[Record], str]:
    """What can meet a group, and the name to favour where there is a choice."""
    found: list[Record] = []
    best = ""
    for atom in group:
        real, virtual = universe.find(atom.name), universe.providers(atom.name)
        if not best and (real or virtual):
            best = _preferred(real or virtual)
        found += real + virtual
    return found, best if len({record.name for record in found}) > 1 else ""


def _preferred(records: Sequence[Record]) -> str:
    """The provider that apt would take: highest priority, then by name."""

    def rank(record: Record) -> tuple[int, str]:
        word = record.fields.get("Priority", "optional")
        return (_PRIORITIES.index(word) if word in _PRIORITIES else len(_PRIORITIES), record.name)

    return min(records, key=rank).name
