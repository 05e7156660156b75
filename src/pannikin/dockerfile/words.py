"""Word expansion: `$name`, `${name...}`, quotes and escapes, as BuildKit's shell lexer reads them.

Supported in braces: `:-` `-` `:+` `+` `:?` `?`, `#` `##` `%` `%%` (trim a pattern), `/` `//` (replace). Words in
braces are expanded themselves. Patterns know `*` and `?`. Everything is linear in text and values, save that a
replacement may start anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from msgspec import Struct

from pannikin.dockerfile import glob
from pannikin.dockerfile.passage import Passage, suggestion
from pannikin.dockerfile.syntax import words as raw_words

MAX_VALUE = 1 << 20
"""Characters of an expanded text: ARG A=$A$A$A in a row would fill the memory otherwise."""
MAX_DEPTH = 50
"""Braces within braces."""

_SPECIAL = frozenset("@*#?-$!")
_NAME = re.compile(r"[^\W\d]\w*|\d+")


@cache
def _ordinary(escape: str, stop: str) -> re.Pattern[str]:
    """A run of characters that mean nothing special, up to the character `stop`."""
    return re.compile(rf"[^$'\"{re.escape(escape + stop)}]+")


@cache
def _ordinary_quoted(escape: str) -> re.Pattern[str]:
    """The same within double quotes."""
    return re.compile(rf"[^$\"{re.escape(escape)}]+")


class _Bad(Exception):
    """What is wrong, and the character it is at."""

    def __init__(self, what: str, at: int, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.at, self.why, self.hint = what, at, why, hint


class _Unclosed(_Bad):
    """The text ended before the character that was looked for."""


class Expanded(Struct, frozen=True):
    """An expansion: the `text`; the same split into `words` at white space that no quote protects; the names of
    the variables that were `used`, and of those that were asked for and are `unset`."""

    text: str
    words: tuple[str, ...]
    used: frozenset[str]
    unset: frozenset[str]


def expand(passage: Passage, env: Mapping[str, str], escape: str = "\\") -> Expanded:
    """Expand a text against the variables `env`. Raises `SyntaxProblem` with the place in the passage."""
    if not {"$", "'", '"', escape} & set(passage.text):
        return Expanded(passage.text, tuple(passage.text.split()), frozenset(), frozenset())
    lexer = _Lexer(passage.text, env, escape)
    try:
        text = lexer.until("", raw=False, splitting=True)
    except _Bad as bad:
        place = passage.cut(min(bad.at, max(0, len(passage.text) - 1)))
        raise place.cut(0, 1).problem(bad.what, why=bad.why, hint=bad.hint) from None
    return Expanded(text, tuple(lexer.words()), frozenset(lexer.used), frozenset(lexer.unset))


class _Lexer:
    """One text, read from left to right."""

    def __init__(self, text: str, env: Mapping[str, str], escape: str) -> None:
        self.text = text
        self.env = env
        self.escape = escape
        self.at = 0
        self.depth = 0
        self.size = 0
        self.used: set[str] = set()
        self.unset: set[str] = set()
        self._done: list[str] = []
        self._word: list[str] = []

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def next(self) -> str:
        char = self.peek()
        self.at += 1
        return char

    def until(self, stop: str, *, raw: bool, splitting: bool = False) -> str:
        """The expansion up to the character `stop`, which is taken ("": to the end); `raw` keeps escapes."""
        out: list[str] = []
        plain = _ordinary(self.escape, stop)
        start = self.at
        while self.at < len(self.text):
            run = plain.match(self.text, self.at)
            if run:
                self.at = run.end()
                piece, protected = run[0], False
            elif stop and self.peek() == stop:
                self.at += 1
                return "".join(out)
            else:
                piece, protected = self._special(raw)
            out.append(piece)
            self._grow(len(piece))
            if splitting:
                self._feed(piece, protected)
        if stop:
            raise _Unclosed("${ is never closed", start - 1)
        return "".join(out)

    def _special(self, raw: bool) -> tuple[str, bool]:
        """What a special character gives, and whether white space in it is protected from splitting."""
        char = self.peek()
        if char == "$":
            return self._dollar(), False
        if char == "'":
            return self._single(), True
        if char == '"':
            return self._double(raw), True
        self.at += 1
        taken = self.next()
        return (char + taken if raw else taken), True

    def _grow(self, count: int) -> None:
        self.size += count
        if self.size > MAX_VALUE:
            raise _Bad("a text grows too large", 0, why=f"more than {MAX_VALUE} characters after expansion")

    def _feed(self, piece: str, protected: bool) -> None:
        if protected:
            self._word.append(piece)
            return
        parts = re.split(r"\s+", piece)
        for number, part in enumerate(parts):
            if number:
                self._end_word()
            if part:
                self._word.append(part)

    def _end_word(self) -> None:
        word = "".join(self._word)
        if word:
            self._done.append(word)
        self._word = []

    def words(self) -> list[str]:
        self._end_word()
        return self._done

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise _Bad("a single quote is never closed", self.at)
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        return inside

    def _double(self, raw: bool) -> str:
        start = self.at
        self.at += 1
        out: list[str] = []
        ordinary = _ordinary_quoted(self.escape)
        while True:
            run = ordinary.match(self.text, self.at)
            if run:
                out.append(run[0])
                self.at = run.end()
            char = self.peek()
            if char == "":
                raise _Bad("a double quote is never closed", start)
            if char == '"':
                self.at += 1
                return "".join(out)
            out.append(self._dollar() if char == "$" else self._escaped(raw))

    def _escaped(self, raw: bool) -> str:
        """An escape within double quotes: it protects only the quote, the dollar sign and itself."""
        self.at += 1
        char = self.peek()
        if not char:
            return ""
        if char in ('"', "$", self.escape):
            self.at += 1
            return self.escape + char if raw else char
        return self.escape * 2 if raw else self.escape

    def _name(self) -> str:
        if self.peek() in _SPECIAL and self.peek():
            return self.next()
        found = _NAME.match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]

    def _value(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unset if value is None else self.used).add(name)
        return value

    def _dollar(self) -> str:
        start = self.at
        self.at += 1
        if self.peek() != "{":
            name = self._name()
            return (self._value(name) or "") if name else "$"
        self.at += 1
        if self.peek() == "":
            raise _Bad("${ is never closed", start, hint="add the }")
        if self.peek() in "{}:":
            raise _Bad("bad substitution", start, why="a name must follow ${", hint="write ${NAME}")
        if self.depth >= MAX_DEPTH:
            raise _Bad("substitutions are nested too deeply", start, why=f"the limit is {MAX_DEPTH}")
        self.depth += 1
        result = self._braces(start)
        self.depth -= 1
        return result

    def _braces(self, start: int) -> str:
        name = self._name()
        operator = self.next()
        if operator == "}":
            return self._value(name) or ""
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator = self.next()
        if not operator:
            raise _Bad("${ is never closed", start, hint="add the }")
        if operator in "-+?":
            return self._default(name, operator, empty_is_unset, start)
        if operator in "#%":
            word = self._closed("}", start)
            return self._patterned(start, lambda: _trim(self._value(name) or "", operator, word))
        if operator == "/" and not empty_is_unset:
            every = self.peek() == "/"
            self.at += every
            pattern = self._closed("/", start)
            new = self._closed("}", start)
            return self._patterned(start, lambda: glob.replace(self._value(name) or "", pattern, new, every))
        shown = (":" if empty_is_unset else "") + operator
        raise _Bad(f"unsupported modifier {shown!r} in a substitution", start, hint="see :- :+ :? # ## % %% / //")

    def _closed(self, stop: str, start: int, *, raw: bool = True) -> str:
        """What stands before `stop`; an error where the text ends first marks the whole substitution."""
        try:
            return self.until(stop, raw=raw)
        except _Unclosed:
            if stop == "}":
                raise _Bad("${ is never closed", start, hint="add the }") from None
            raise _Bad("a replacement needs two slashes", start, hint="write ${NAME/pattern/text}") from None

    def _default(self, name: str, operator: str, empty_is_unset: bool, start: int) -> str:
        word = self._closed("}", start, raw=False)
        value = self._value(name)
        missing = value is None or (empty_is_unset and value == "")
        if operator == "-":
            return word if missing else (value or "")
        if operator == "+":
            return "" if missing else word
        if missing:
            why = word or ("is not allowed to be unset" if value is None else "is not allowed to be empty")
            near = suggestion(name, list(self.env), "did you mean ${}?") if value is None else ""
            hint = near or f"give it with --build-arg {name}=..."
            raise _Bad(f"{name} has no value", start, why=why, hint=hint)
        return value or ""

    def _patterned(self, start: int, work: Callable[[], str]) -> str:
        try:
            return work()
        except ValueError as error:
            raise _Bad("bad pattern in a substitution", start, why=str(error)) from None


def _trim(value: str, operator: str, word: str) -> str:
    longest = word.startswith(operator)
    pattern = word[1:] if longest else word
    trim = glob.trim_prefix if operator == "#" else glob.trim_suffix
    return trim(value, pattern, longest)


class Pair(Struct, frozen=True):
    """A `key=value` before expansion. `value` is None where there is no `=` (ARG); `legacy` for `ENV key value`."""

    key: Passage
    value: Passage | None
    legacy: bool = False


def pairs(rest: Passage, instruction: str, escape: str) -> list[Pair]:
    """The pairs of ENV and LABEL: `k=v k2="a b"`, or the old `k v`. Raises `SyntaxProblem`."""
    found = [rest.cut(word.start(), word.end()) for word in raw_words(rest.text, escape)]
    if not found:
        raise rest.problem(f"{instruction} needs at least one name=value")
    if "=" not in found[0].text:
        name = re.match(r"[^\t\v\f\r ]+", rest.text)
        end = name.end() if name else 0
        value = rest.cut(end).strip()
        if not value:
            raise rest.problem(f"{instruction} needs a value", hint=f"write {instruction} {rest.text[:60]}=value")
        return [Pair(rest.cut(0, end), value, legacy=True)]
    return [_pair(word, instruction) for word in found]


def _pair(word: Passage, instruction: str) -> Pair:
    at = word.text.find("=")
    if at < 0:
        raise word.problem(
            f"{instruction}: no = in {word.text[:60]}", hint='write name=value, and name="a b" where there are spaces'
        )
    if at == 0:
        raise word.problem(f"{instruction}: a name is missing before the =")
    return Pair(word.cut(0, at), word.cut(at + 1))


def names(rest: Passage, escape: str) -> list[Pair]:
    """The declarations of ARG: `name` or `name=default`, one or several. Raises `SyntaxProblem`."""
    found = [rest.cut(word.start(), word.end()) for word in raw_words(rest.text, escape)]
    if not found:
        raise rest.problem("ARG needs a name")
    return [_pair(word, "ARG") if "=" in word.text else Pair(word, None) for word in found]
