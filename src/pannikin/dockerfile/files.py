"""The instructions that change the file system: RUN, COPY, ADD, WORKDIR. Each adds a node to the graph."""

from __future__ import annotations

import posixpath
import re

from pannikin.dockerfile import values
from pannikin.dockerfile.configure import Handler, command, needed
from pannikin.dockerfile.passage import Passage
from pannikin.dockerfile.state import State, later, valued
from pannikin.dockerfile.syntax import Instruction
from pannikin.dockerfile.words import expand
from pannikin.errors import SyntaxProblem, Unsafe
from pannikin.graph import Context, Copy, Make, Node, Run

_REMOTE = r"(?i:https?|git|ssh|ftp)://|git@[^/]+:"


def run(state: State, instruction: Instruction) -> None:
    """RUN: a command in the stage's file system, with ENV and the ARGs in scope."""
    network = _network(state, instruction)
    args = command(state, instruction, _script(instruction))
    if not args:
        raise instruction.rest.problem("RUN needs a command")
    for name, value in state.env.items():
        if "\0" in value or "\0" in name:
            raise SyntaxProblem(f"RUN: the variable {name[:60]} holds a NUL character", where=instruction.span)
    node = Run(
        base=state.node, args=tuple(args), env=tuple(state.env.items()), cwd=state.workdir, user=state.run.user,
        network=network, epoch=state.epoch, where=instruction.span, title=state.title(instruction.line.text),
    )  # fmt: skip
    state.record(f"RUN {_with_arguments(state, args)}", node)


def _network(state: State, instruction: Instruction) -> str:
    network = state.around.network
    for flag in instruction.flags:
        if flag.name != "network":
            raise later(flag.span, f"RUN --{flag.name}")
        if flag.value not in ("default", "none", "host"):
            raise SyntaxProblem(f"--network: {flag.value!r:.60} is not default, none or host", where=flag.span)
        if flag.value != "default":
            network = flag.value
    return network


def _script(instruction: Instruction) -> str | None:
    """The command with its here-documents put in: alone, the document is the script; else the shell reads it."""
    documents = instruction.heredocs
    if not documents:
        return None
    if re.fullmatch(r"\d*<<\S+", instruction.rest.text) and len(documents) == 1:
        content = documents[0].content
        if content.startswith("#!"):
            raise later(documents[0].span, "RUN with a here-document that names its interpreter")
        return content
    return instruction.rest.text + "".join(f"\n{one.text}{one.name}" for one in documents)


def _with_arguments(state: State, args: list[str]) -> str:
    """The command as docker's history writes it: `|2 A=1 B=2 /bin/sh -c make`."""
    given = [f"{name}={state.env.get(name, value or '')}" for name, value in state.args.items()]
    return " ".join([f"|{len(given)}", *given, *args] if given else args)


def workdir(state: State, instruction: Instruction) -> None:
    """WORKDIR: the directory of what follows, made where it is missing; a relative one adds to the last."""
    text = state.expand(needed(instruction))
    if not text:
        state.around.warnings.append(f"{instruction.rest.span()}: WORKDIR is empty, and changes nothing")
    if "\0" in text:
        raise instruction.rest.problem("WORKDIR holds a NUL character")
    path = posixpath.normpath(posixpath.join("/", state.workdir, text)).replace("//", "/")
    state.run.working_dir = path
    title = state.title(instruction.line.text)
    node = None
    if path != "/":
        node = Make(
            base=state.node, path=path, owner=state.run.user, epoch=state.epoch, where=instruction.span, title=title
        )
    state.record(f"WORKDIR {path}", node)


def copy(state: State, instruction: Instruction) -> None:
    """COPY: files of the context, of another stage or of an image."""
    _place(state, instruction, unpack=False)


def add(state: State, instruction: Instruction) -> None:
    """ADD: as COPY, and archives of the context are unpacked."""
    _place(state, instruction, unpack=True)


def _place(state: State, instruction: Instruction, *, unpack: bool) -> None:
    words = state.arguments(instruction)
    if len(words) < 2:
        raise SyntaxProblem(
            f"{instruction.name} needs a source and a destination", where=instruction.span,
            hint=f"write {instruction.name} source destination",
        )  # fmt: skip
    if instruction.heredocs:
        raise later(instruction.heredocs[0].span, f"{instruction.name} with a here-document")
    owner, mode, shown = _attributes(state, instruction)
    texts = [_word(state, word, instruction) for word in words]
    dest = destination(texts[-1], state.workdir)
    source, paths = _source(state, instruction, list(zip(words, texts, strict=True))[:-1])
    if len(paths) > 1 and not dest.endswith("/"):
        raise words[-1].problem(
            "several sources need a directory to go to", hint=f"write {texts[-1][:60]}/ with a slash at its end"
        )
    node = Copy(
        base=state.node, source=source, paths=tuple(paths), dest=dest, owner=owner, mode=mode, unpack=unpack,
        epoch=state.epoch, where=instruction.span, title=state.title(instruction.line.text),
    )  # fmt: skip
    state.record(" ".join([instruction.name, *shown, *texts]), node)


def _word(state: State, word: Passage, instruction: Instruction) -> str:
    try:
        return state.expand(word)
    except SyntaxProblem as error:
        if "quote" in error.what and instruction.json is None:
            error.hint = f'names with spaces need the JSON form: {instruction.name} ["a b", "dest/"]'
        raise


def _attributes(state: State, instruction: Instruction) -> tuple[str, int | None, list[str]]:
    """Owner and mode from the flags, and how history writes them. Refuses what is not built yet."""
    owner, mode, shown = "", None, []
    for flag in instruction.flags:
        if flag.name in ("link", "parents", "keep-git-dir", "unpack"):
            wanted = valued(flag.span, f"--{flag.name}", values.boolean, flag.value or "true")
            if wanted != (flag.name == "unpack"):
                raise later(flag.span, f"{instruction.name} --{flag.name}")
        elif flag.name in ("exclude", "checksum"):
            raise later(flag.span, f"{instruction.name} --{flag.name}")
        elif flag.name == "chown":
            owner = state.expand(flag.passage)
            if not owner or any(char.isspace() or char == "\0" for char in owner):
                raise SyntaxProblem(f"--chown: not user[:group]: {owner[:60]!r}", where=flag.span)
            shown.append(f"--chown={owner}")
        elif flag.name == "chmod":
            text = state.expand(flag.passage)
            if text and not re.fullmatch("[0-9]+", text):
                raise later(flag.span, f"{instruction.name} --chmod with letters")
            mode = valued(flag.span, "--chmod", values.mode, text)
            shown.append(f"--chmod={text}")
    return owner, mode, shown


def destination(text: str, workdir: str) -> str:
    """Where files go: absolute, `.` and `..` resolved, with a trailing `/` where it must be a directory."""
    directory = text in ("", ".", "..") or text.endswith(("/", "/.", "/.."))
    path = posixpath.normpath(posixpath.join("/", workdir, text)).replace("//", "/")
    return path if not directory or path == "/" else f"{path}/"


def _source(state: State, instruction: Instruction, sources: list[tuple[Passage, str]]) -> tuple[Node, list[str]]:
    """The node to copy from, and the cleaned paths in it."""
    flag = instruction.flag("from")
    if flag is None:
        paths = [_context_path(word, text, instruction) for word, text in sources]
        select = () if paths == ["."] else tuple(paths)
        return Context(name="context", select=select, ignore=state.around.ignore, where=instruction.span), paths
    if flag.value and expand(flag.passage, {}, state.escape).text != flag.value:
        raise SyntaxProblem(
            "--from takes no variables", where=flag.span, hint=f"name the stage first: FROM {flag.value} AS source"
        )
    if not flag.value:
        raise SyntaxProblem("--from is empty", where=flag.span, hint="name a stage or an image")
    found = state.around.fetch(flag.value, flag, state.stage)
    if state.around.fixed_epoch is None:
        state.epoch = max(state.epoch, found.epoch)
    return found.node, [_stage_path(word, text) for word, text in sources]


def _context_path(word: Passage, text: str, instruction: Instruction) -> str:
    if re.match(_REMOTE, text):
        if instruction.name == "COPY":
            raise word.problem("COPY takes no remote source", hint="ADD does")
        raise later(word.span(), "ADD of a remote source")
    path = _stage_path(word, text)
    depth = 0
    for part in text.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise Unsafe(
                f"{instruction.name} source leaves the build context: {text[:100]}", where=word.span(),
                hint="only what is inside the context can be copied; build with a directory above as context",
            )  # fmt: skip
    return path


def _stage_path(word: Passage, text: str) -> str:
    """A path from the root of what is copied from, without its leading slash; `.` for all of it."""
    if not text:
        raise word.problem("a source is empty", hint="a variable in it has no value")
    if "\0" in text:
        raise word.problem("a NUL character in a path")
    return posixpath.normpath(posixpath.join("/", text)).lstrip("/") or "."


HANDLERS: dict[str, Handler] = {"ADD": add, "COPY": copy, "RUN": run, "WORKDIR": workdir}
