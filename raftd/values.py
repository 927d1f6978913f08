"""How settings are written: durations, sizes, addresses, ids, lists; read from text and shown.

Every source of settings (flags, environment, file) writes them alike. A parser takes what a flag,
a variable or a TOML value gives and returns the value, or raises ValueError with words that say
what would do.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ID_MAX: Final = 2**53 - 1
"""Ids stay below this so that JSON readers which keep numbers as doubles read them exactly."""

_DURATION_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip


# --- one value --------------------------------------------------------------------------------


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as ``"100ms"``, ``"1.5s"`` or ``"2m"`` says.

    Raises:
        ValueError: not a number with one of the units us, ms, s, m, h.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)\s*", text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: write a number and us, ms, s, m or h")
    return float(found[1]) * _DURATION_UNITS[found[2]]


def parse_size(text: str) -> int:
    """Return the bytes that a text such as ``"64MiB"``, ``"512 KiB"`` or ``"4096"`` says.

    Raises:
        ValueError: not a number with one of the units B, KB, KiB, MB, MiB, GB, GiB.
    """
    found = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", text)
    unit = _SIZE_UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ValueError(f"{text!r} is not a size: write a number and B, KiB, MiB or GiB")
    return int(found[1]) * unit


def parse_address(text: str) -> str:
    """Return ``host:port`` in one spelling; an IPv6 host stands in brackets.

    Raises:
        ValueError: no host, no port, or a port outside 1..65535.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not an address: write host:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r}: an IPv6 host stands in brackets, as in [::1]:7001")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: the port is a number from 1 to 65535")
    return f"{host}:{int(port)}"


def split_address(address: str) -> tuple[str, int]:
    """Return (host without brackets, port) of an address that `parse_address` accepted."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def parse_id(text: str | int) -> int:
    """Return a node id, 1 to 2^53-1.

    Raises:
        ValueError: not such a number.
    """
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a node id: ids are whole numbers from 1") from None
    if not 1 <= value <= ID_MAX:
        raise ValueError(f"{value} is not a node id: ids go from 1 to 2^53-1")
    return value


def parse_peers(text: str) -> dict[int, str]:
    """Return {id: address} of ``"1=host:port,2=host:port"``; ``@file`` reads that from a file.

    Raises:
        ValueError: a pair without ``=``, a bad id or address, an id or address given twice.
    """
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the peers from {text[1:]}: {error}") from None
    peers: dict[int, str] = {}
    for pair in re.split(r"[,\s]+", text):
        if not pair:
            continue
        name, equals, address = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not a peer: write id=host:port")
        _add_peer(peers, parse_id(name), parse_address(address))
    return peers


def _add_peer(peers: dict[int, str], node_id: int, address: str) -> None:
    if peers.get(node_id, address) != address:
        raise ValueError(f"id {node_id} is given twice, as {peers[node_id]} and as {address}")
    for other, known in peers.items():
        if known == address and other != node_id:
            raise ValueError(f"{address} is given to both {other} and {node_id}")
    peers[node_id] = address


# --- what a source gives ----------------------------------------------------------------------


def strings(raw: Any) -> list[str]:
    """Read a list: a flag repeated, one text with commas, or a TOML array."""
    parts = raw if isinstance(raw, (list, tuple)) else [raw]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{raw!r}: expected text, or a list of texts")
    return [part for each in parts for part in re.split(r"[,\s]+", each) if part]


def peers(raw: Any) -> dict[int, str]:
    """Read members and their addresses: texts as `parse_peers` takes them, or a TOML table."""
    merged: dict[int, str] = {}
    if isinstance(raw, dict):
        for name, address in raw.items():
            if not isinstance(address, str):
                raise ValueError(f'peer {name}: the address is text, as in "127.0.0.1:7001"')
            _add_peer(merged, parse_id(name), parse_address(address))
        return merged
    for part in raw if isinstance(raw, (list, tuple)) else [raw]:
        for member, address in parse_peers(text(part)).items():
            _add_peer(merged, member, address)
    return merged


def text(raw: Any) -> str:
    """Read a text."""
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r}: expected text")
    return raw


def node_id(raw: Any) -> int:
    """Read a node id."""
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise ValueError(f"{raw!r} is not a node id")
    return parse_id(raw)


def address(raw: Any) -> str:
    """Read an address."""
    return parse_address(text(raw))


def addresses(raw: Any) -> tuple[str, ...]:
    """Read a list of addresses, each once."""
    return tuple(dict.fromkeys(parse_address(each) for each in strings(raw)))


def duration(raw: Any) -> float:
    """Read a duration above zero, in seconds."""
    seconds = parse_duration(text(raw))
    if seconds <= 0:
        raise ValueError(f"{raw!r}: the duration must be above zero")
    return seconds


def duration_or_zero(raw: Any) -> float:
    """Read a duration, in seconds; zero means never."""
    return parse_duration(text(raw))


def size(raw: Any) -> int:
    """Read a size, in bytes; a bare number is bytes."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    return parse_size(text(raw))


def count(raw: Any) -> int:
    """Read a whole number, zero or more."""
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise ValueError(f"{raw!r} is not a whole number")
    try:
        value = int(raw)
    except ValueError:
        raise ValueError(f"{raw!r} is not a whole number") from None
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return value


def switch(raw: Any) -> bool:
    """Read on or off."""
    if isinstance(raw, bool):
        return raw
    word = text(raw).lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{raw!r}: write true or false")


def mode(raw: Any) -> int:
    """Read the file mode of a socket."""
    try:
        value = int(text(raw), 8)
    except ValueError:
        raise ValueError(f"{raw!r} is not a file mode: write octal digits, as in 0600") from None
    if value & ~0o777 or value & 0o600 != 0o600:
        raise ValueError(f"{raw!r}: a socket's mode lets its owner read and write, as 0600 does")
    return value


def choice(*allowed: str) -> Callable[[Any], str]:
    """Return a reader of one of these words."""

    def parse(raw: Any) -> str:
        if raw not in allowed:
            raise ValueError(f"{raw!r} is none of {', '.join(allowed)}")
        return str(raw)

    return parse


def path(raw: Any) -> Path:
    """Read a path; ``~`` is the home directory."""
    words = text(raw)
    if not words:
        raise ValueError("the path is empty")
    return Path(words).expanduser()


# --- showing ----------------------------------------------------------------------------------


def same(value: Any) -> Any:
    """Show a value as it is."""
    return value


def seconds_text(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it, exactly."""
    if seconds == 0:
        return "0s"
    for unit, factor in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= factor and seconds % factor == 0:
            return f"{int(seconds // factor)}{unit}"
    if seconds >= 1:
        return f"{seconds:.12g}s"
    if seconds >= 1e-3:
        return f"{seconds * 1000:.12g}ms"
    return f"{seconds * 1e6:.12g}us"


def size_text(count_: int) -> str:
    """Return a size as `parse_size` reads it, exactly."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count_ and count_ % factor == 0:
            return f"{count_ // factor}{unit}"
    return str(count_)


def mode_text(value: int) -> str:
    """Return a file mode as `mode` reads it."""
    return f"{value:04o}"


def peers_table(members: dict[int, str]) -> dict[str, str]:
    """Return members as a TOML table."""
    return {str(member): where for member, where in members.items()}
