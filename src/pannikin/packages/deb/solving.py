"""libsolv, asked about Debian packages.

The `solv` wheel is built with rpm's semantics alone: its version order is rpm's, an unversioned Provides meets a
versioned dependency, `= 1.0` is met by 1.0-1, and the architecture of no architecture is called noarch. So
libsolv never sees a version: of all versions that a name is given anywhere, sorted by dpkg's order, it gets the
rank. And a versioned relation asks for `name#`, which only a versioned provider provides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pannikin.packages.deb import version
from pannikin.packages.deb.index import Groups, Record
from pannikin.packages.deb.relations import Atom


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why nothing fits, in a sentence."""

    text: str


Without = Callable[[Record, tuple[Atom, ...]], bool]
"""Says of a package's dependency that it need not be met."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Which relations count: Recommends or not, and what need not be met."""

    recommends: bool = False
    without: Without | None = None

    def hard(self, record: Record, groups: Groups) -> Groups:
        """Those of `groups` that must be met."""
        without = self.without
        return groups if without is None else [group for group in groups if not without(record, group)]

    def all(self, record: Record) -> Groups:
        """Every relation that pulls packages in."""
        soft = record.recommends if self.recommends else []
        return self.hard(record, record.pre_depends + record.depends + soft)


class Pool:
    """Packages and jobs, then one answer. `native` is the only architecture beside `all`."""

    def __init__(self, native: str, needs: Needs) -> None:
        import solv

        self.solv = solv
        self.native = native
        self.needs = needs
        self.pool = solv.Pool()
        self.pool.setarch("x86_64")
        self.repos: dict[int, Any] = {}
        self.base: Any = None
        self.records: dict[int, Record] = {}
        self.made: dict[int, Any] = {}
        self.texts: dict[int, str] = {}
        self.ranks: dict[tuple[str, str], str] = {}
        self.jobs: list[Any] = []

    def load(self, candidates: Iterable[Record], installed: Iterable[Record]) -> None:
        """Make solvables of all of these, once."""
        candidates, installed = list(candidates), list(installed)
        self._rank([*candidates, *installed])
        if installed:
            self.base = self.pool.add_repo("installed")
            self.pool.installed = self.base
        for record in installed:
            self._add(record, self.base)
        for record in candidates:
            if record.priority not in self.repos:
                self.repos[record.priority] = self.pool.add_repo(str(record.priority))
                self.repos[record.priority].priority = record.priority
            self._add(record, self.repos[record.priority])
        self.pool.createwhatprovides()

    def install(self, records: Sequence[Record]) -> None:
        """One of these must be there."""
        ids = self.pool.towhatprovides([self.made[id(record)].id for record in records])
        job = self.solv.Job
        self.jobs.append(self.pool.Job(job.SOLVER_INSTALL | job.SOLVER_SOLVABLE_ONE_OF, ids))

    def favour(self, names: Iterable[str]) -> None:
        """Where there is a choice, these."""
        job = self.solv.Job
        how = job.SOLVER_FAVOR | job.SOLVER_SOLVABLE_NAME
        self.jobs += [self.pool.Job(how, self.pool.str2id(name)) for name in sorted(names)]

    def keep(self) -> None:
        """What is installed stays, at its version."""
        if self.base is not None:
            job = self.solv.Job
            self.jobs.append(self.pool.Job(job.SOLVER_LOCK | job.SOLVER_SOLVABLE_REPO, self.base.id))

    def solve(self) -> list[Record] | list[Reason]:
        """The packages to add, dependencies first; or why there is no answer."""
        solver = self.pool.Solver()
        solver.set_flag(self.solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 0 if self.needs.recommends else 1)
        problems = solver.solve(self.jobs)
        if problems:
            return list(dict.fromkeys(reason for problem in problems for reason in self._reasons(problem)))
        transaction = solver.transaction()
        transaction.order()
        return [self.records[one.id] for one in transaction.newsolvables()]

    def _rank(self, records: list[Record]) -> None:
        versions: dict[str, set[str]] = defaultdict(set)
        for record in records:
            versions[record.name].add(record.version)
            groups = self.needs.all(record) + record.conflicts + [(atom,) for atom in record.provides]
            for group in groups:
                for atom in group:
                    if atom.op:
                        versions[atom.name].add(atom.version)
        for name, found in versions.items():
            keys = sorted({version.key(one) for one in found})
            order = {one: str(number) for number, one in enumerate(keys, 1)}
            for one in found:
                self.ranks[name, one] = order[version.key(one)]

    def _add(self, record: Record, repo: Any) -> None:
        made = repo.add_solvable()
        made.name, made.evr = record.name, self.ranks[record.name, record.version]
        made.arch = "noarch" if record.architecture == "all" else "x86_64"
        self.made[id(record)] = made
        self.records[made.id] = record
        for atom in (Atom(record.name, "", "=", record.version), *record.provides):
            for name in (atom.name, atom.name + ":any") if record.multi_arch == "allowed" else (atom.name,):
                made.add_provides(self.pool.Dep(name))
                if atom.op:
                    made.add_provides(self._dep(atom, name))
        requires = self.solv.SOLVABLE_REQUIRES
        for group in self.needs.hard(record, record.pre_depends):
            made.add_deparray(requires, self._any(group), 1)
        for group in self.needs.hard(record, record.depends):
            made.add_deparray(requires, self._any(group), -1)
        for group in self.needs.hard(record, record.recommends) if self.needs.recommends else ():
            made.add_recommends(self._any(group))
        for group in record.conflicts:
            made.add_conflicts(self._any(group))

    def _any(self, group: tuple[Atom, ...]) -> Any:
        dep = self._dep(group[-1])
        for atom in reversed(group[:-1]):
            dep = self._dep(atom).Rel(self.solv.REL_OR, dep)
        self.texts[dep.id] = " | ".join(map(str, group))
        return dep

    def _dep(self, atom: Atom, name: str = "") -> Any:
        # One architecture: its own qualifier says nothing, `any` asks for Multi-Arch: allowed, others are absent.
        native = atom.qualifier in ("", self.native, "all")
        name = name or (atom.name if native else f"{atom.name}:{atom.qualifier}")
        if not atom.op:
            return self.pool.Dep(name)
        gt, eq, lt = self.solv.REL_GT, self.solv.REL_EQ, self.solv.REL_LT
        flags = {">>": gt, ">=": gt | eq, "=": eq, "<=": lt | eq, "<<": lt}[atom.op]
        return self.pool.Dep(name + "#").Rel(flags, self.pool.Dep(self.ranks[atom.name, atom.version]))

    def _reasons(self, problem: Any) -> list[Reason]:
        found = []
        for rule in problem.findallproblemrules():
            for info in rule.allinfos():
                if text := self._sentence(info):
                    found.append(Reason(text))
        return found

    def _sentence(self, info: Any) -> str:
        solver = self.solv.Solver
        one = self._name(info.solvable)
        other = self._name(info.othersolvable)
        needs = self.texts.get(info.dep_id, info.dep.str() if info.dep_id else "")
        if info.type == solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
            return f"{one} needs {needs}, which no package provides"
        if info.type == solver.SOLVER_RULE_PKG_REQUIRES:
            return f"{one} needs {needs}"
        if info.type == solver.SOLVER_RULE_PKG_CONFLICTS:
            return f"{one} excludes {other}"
        if info.type == solver.SOLVER_RULE_PKG_SAME_NAME:
            return f"only one of {one} and {other} can be there"
        if info.type == solver.SOLVER_RULE_PKG_NOT_INSTALLABLE:
            return f"{one} can't be installed"
        if info.type == solver.SOLVER_RULE_UPDATE and one:
            return f"{one} is already in the base and stays"
        return ""

    def _name(self, solvable: Any) -> str:
        record = self.records.get(solvable.id) if solvable else None
        return f"{record.name} {record.version}" if record else ""
