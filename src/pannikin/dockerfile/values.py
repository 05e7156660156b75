"""The little languages inside arguments: ports, durations, signals, modes, and how docker prints them.

Functions raise ValueError with what is wrong; the caller knows the place.
"""

from __future__ import annotations

import json
import re

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_MAX_DURATION = 2**63 - 1

_SIGNAL_NAMES = (
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    *(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)),
)  # fmt: skip
_SIGNALS = frozenset(_SIGNAL_NAMES)


def ports(spec: str) -> list[str]:
    """`80`, `80/udp`, `8000-8002/tcp` (and docker's `[ip:]host:port`) as `["8000/tcp", ...]`."""
    container = spec.rpartition(":")[2]
    numbers, _, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"{protocol!r} is not a protocol: tcp, udp or sctp")
    low, dash, high = numbers.partition("-")
    first = _port(low)
    last = _port(high) if dash else first
    if last < first:
        raise ValueError(f"the range {numbers} runs backwards")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port number")
    return int(text)


def duration(text: str) -> int:
    """Go's durations (`1h30m`, `1.5s`, `0`) in nanoseconds."""
    body = text[1:] if text.startswith(("+", "-")) else text
    if body == "0":
        return 0
    total, at = 0.0, 0
    whole = 0
    for part in re.finditer(_PART, body):
        if part.start() != at:
            break
        at = part.end()
        if "." in part[1]:
            total += float(part[1]) * _UNITS[part[2]]
        else:
            whole += int(part[1][:20]) * _UNITS[part[2]]
    if not body or at != len(body):
        raise ValueError(f"{text!r:.60} is not a duration: write 30s, 1m30s, 500ms")
    value = whole + round(total)
    if value > _MAX_DURATION:
        raise ValueError(f"{text!r:.60} is too long a time")
    return -value if text.startswith("-") else value


def show_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: `1m30s`, `500ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < min(10**9, size * 1000):
            return f"{_number(nanoseconds / size)}{unit}"
    seconds, rest = divmod(nanoseconds, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_number(seconds + rest / 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def signal(text: str) -> str:
    """A signal's name, with or without SIG, or its number, unchanged."""
    number = re.fullmatch("[0-9]{1,3}", text)
    if number:
        if 0 < int(text) <= 64:
            return text
    elif text.upper().removeprefix("SIG") in _SIGNALS:
        return text
    raise ValueError(f"{text!r:.60} is not a signal")


def mode(text: str) -> int:
    """An octal file mode (`755`, `0644`, `4755`)."""
    if not re.fullmatch("[0-7]{1,5}", text) or int(text, 8) > 0o7777:
        raise ValueError(f"{text!r:.60} is not an octal mode between 0 and 7777")
    return int(text, 8)


def boolean(text: str | None) -> bool:
    """The value of a flag that may stand alone: `--link`, `--link=true`, `--link=false`."""
    if text is None or text.lower() == "true":
        return True
    if text.lower() == "false":
        return False
    raise ValueError(f"{text!r:.60} is neither true nor false")


def quoted(items: list[str] | tuple[str, ...]) -> str:
    """A list as docker's history shows it: `["a" "b"]`."""
    return "[" + " ".join(json.dumps(item, ensure_ascii=False) for item in items) + "]"
