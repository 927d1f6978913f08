"""The daemon's settings: one table of options, read from flags, environment, a TOML file, defaults.

A value given by a flag wins over ``RAFTD_<OPTION>`` in the environment, that over the file, that
over the default; giving the same option twice is never an error. What is not an option is: an
unknown key of the file or an unknown ``RAFTD_*`` variable is refused with the nearest known name,
because a misspelt limit that is silently ignored is found out in an outage.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from raftwire import paths
from raftwire.limits import SOCKET_PATH_BYTES_MAX

ID_MAX: Final = 2**53 - 1
"""Ids stay below this so that JSON readers which keep numbers as doubles read them exactly."""

TICKS_PER_HEARTBEAT: Final = 4
"""A tick is a quarter of a heartbeat: randomised election timeouts get 40 values, not 10."""


class ConfigError(Exception):
    """A setting that cannot be used; the text names it, where it came from and what would do."""


# --- values -----------------------------------------------------------------------------------

_DURATION_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip


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


def _strings(raw: Any) -> list[str]:
    """A list option as flags (repeated), as one comma-separated text, or as a TOML array."""
    parts = raw if isinstance(raw, (list, tuple)) else [raw]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{raw!r}: expected text, or a list of texts")
    return [part for text in parts for part in re.split(r"[,\s]+", text) if part]


def _peers(raw: Any) -> dict[int, str]:
    if isinstance(raw, dict):
        peers: dict[int, str] = {}
        for name, address in raw.items():
            if not isinstance(address, str):
                raise ValueError(f'peer {name}: the address is text, as in "127.0.0.1:7001"')
            _add_peer(peers, parse_id(name), parse_address(address))
        return peers
    merged: dict[int, str] = {}
    for text in raw if isinstance(raw, (list, tuple)) else [raw]:
        for node_id, address in parse_peers(_text(text)).items():
            _add_peer(merged, node_id, address)
    return merged


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r}: expected text")
    return raw


def _id(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise ValueError(f"{raw!r} is not a node id")
    return parse_id(raw)


def _addresses(raw: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_address(text) for text in _strings(raw)))


def _duration(raw: Any) -> float:
    seconds = parse_duration(_text(raw))
    if seconds <= 0:
        raise ValueError(f"{raw!r}: the duration must be above zero")
    return seconds


def _size(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    return parse_size(_text(raw))


def _count(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise ValueError(f"{raw!r} is not a whole number")
    try:
        value = int(raw)
    except ValueError:
        raise ValueError(f"{raw!r} is not a whole number") from None
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return value


def _switch(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = _text(raw).lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{raw!r}: write true or false")


def _mode(raw: Any) -> int:
    try:
        value = int(_text(raw), 8)
    except ValueError:
        raise ValueError(f"{raw!r} is not a file mode: write octal digits, as in 0600") from None
    if value & ~0o777 or value & 0o600 != 0o600:
        raise ValueError(f"{raw!r}: a socket's mode lets its owner read and write, as 0600 does")
    return value


def _choice(*allowed: str) -> Callable[[Any], str]:
    def parse(raw: Any) -> str:
        if raw not in allowed:
            raise ValueError(f"{raw!r} is none of {', '.join(allowed)}")
        return str(raw)

    return parse


def _path(raw: Any) -> Path:
    text = _text(raw)
    if not text:
        raise ValueError("the path is empty")
    return Path(text).expanduser()


def _seconds_text(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _size_text(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


# --- the table --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its flag, its place in the file, how its text is read and shown.

    ``name`` is the `DaemonConfig` field; the flag is ``--name`` with dashes unless ``flag`` says
    otherwise, the environment variable ``RAFTD_<FLAG>``, the file's key ``section.key``.
    """

    name: str
    key: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    flag: str = ""
    metavar: str = "TEXT"
    repeatable: bool = False
    switch: bool = False
    show: Callable[[Any], Any] = str

    @property
    def flag_name(self) -> str:
        """The flag without its two dashes."""
        return self.flag or self.name.replace("_", "-")

    @property
    def env_name(self) -> str:
        """The environment variable."""
        return "RAFTD_" + self.flag_name.replace("-", "_").upper()


def _same(value: Any) -> Any:
    return value


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "node_id",
        "node.id",
        _id,
        None,
        "This node's id, unique in its group for ever.",
        flag="id",
        metavar="N",
        show=_same,
    ),
    Option(
        "peers",
        "cluster.peers",
        _peers,
        {},
        "The group's first voters: 1=host:port,2=host:port,...; @FILE reads them from a file.",
        metavar="ID=ADDR,...",
        repeatable=True,
        show=lambda peers: {str(k): v for k, v in peers.items()},
    ),
    Option(
        "data_dir",
        "node.data_dir",
        _path,
        None,
        "Where the node keeps its data. Default: ./raftd-<id>.",
        metavar="DIR",
    ),
    Option(
        "join",
        "cluster.join",
        _addresses,
        (),
        "Start as a new node that waits to be added; addresses of members to announce itself to.",
        metavar="ADDR,...",
        repeatable=True,
        show=list,
    ),
    Option(
        "cluster_token",
        "cluster.token",
        _text,
        "",
        "Told apart by this: two groups with the same first peers. Part of the cluster id.",
        metavar="TEXT",
    ),
    Option(
        "state_machine",
        "cluster.state_machine",
        _text,
        "log",
        "What entries are applied to: log, kv, or a plug-in's name. Fixed when the group is made.",
        metavar="NAME",
    ),
    Option(
        "listen",
        "listen.peer",
        parse_address,
        None,
        "Address to listen on for peers. Default: this node's own entry in --peers.",
        metavar="ADDR",
    ),
    Option(
        "advertise",
        "listen.advertise",
        parse_address,
        None,
        "Address that peers reach this node at. Default: its own entry in --peers, else --listen.",
        metavar="ADDR",
    ),
    Option(
        "insecure_peers",
        "listen.insecure_peers",
        _switch,
        False,
        "Allow unencrypted peer traffic off the loopback interface.",
        switch=True,
        show=_same,
    ),
    Option(
        "admin_socket",
        "admin.socket",
        _path,
        None,
        "Unix socket for raftctl. Default: <run dir>/<id>.sock.",
        metavar="PATH",
    ),
    Option(
        "admin_mode",
        "admin.mode",
        _mode,
        0o600,
        "File mode of the admin socket.",
        metavar="OCTAL",
        show=lambda mode: f"{mode:04o}",
    ),
    Option(
        "heartbeat",
        "raft.heartbeat",
        _duration,
        0.1,
        "How often a leader is heard from.",
        metavar="DURATION",
        show=_seconds_text,
    ),
    Option(
        "election_timeout",
        "raft.election_timeout",
        _duration,
        1.0,
        "Silence after which followers look for a new leader (up to twice this).",
        metavar="DURATION",
        show=_seconds_text,
    ),
    Option(
        "max_size_per_msg",
        "raft.max_size_per_msg",
        _size,
        2**20,
        "Bytes of entries in one append message.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "max_inflight_msgs",
        "raft.max_inflight_msgs",
        _count,
        256,
        "Append messages on their way to one follower.",
        metavar="N",
        show=_same,
    ),
    Option(
        "max_inflight_bytes",
        "raft.max_inflight_bytes",
        _size,
        64 * 2**20,
        "Bytes of entries on their way to one follower.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "max_uncommitted_size",
        "raft.max_uncommitted_size",
        _size,
        64 * 2**20,
        "Bytes of proposals a leader takes before they are committed.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "max_committed_size",
        "raft.max_committed_size",
        _size,
        4 * 2**20,
        "Bytes of entries applied before other work gets its turn.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "fsync",
        "storage.fsync",
        _choice("always", "unsafe-never"),
        "always",
        "Whether writes are made durable before they are answered. unsafe-never loses data on power loss.",
        metavar="MODE",
    ),
    Option(
        "compact_entries",
        "storage.compact_entries",
        _count,
        5_000,
        "Entries that are dropped from the log at a time; 0: none ever is.",
        metavar="N",
        show=_same,
    ),
    Option(
        "compact_trailing",
        "storage.compact_trailing",
        _count,
        50_000,
        "Applied entries kept in the log, for slow followers and readers.",
        metavar="N",
        show=_same,
    ),
    Option(
        "compact_trailing_bytes",
        "storage.compact_trailing_bytes",
        _size,
        256 * 2**20,
        "Keep fewer of them if they take more than this, roughly.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "snapshot_entries",
        "snapshot.entries",
        _count,
        0,
        "Make a snapshot each time so many entries are applied; 0: when a follower needs one.",
        metavar="N",
        show=_same,
    ),
    Option(
        "max_entry_bytes",
        "limits.max_entry_bytes",
        _size,
        2**20,
        "Largest proposal.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "max_pending",
        "limits.max_pending",
        _count,
        10_000,
        "Proposals of this node's clients that wait for an answer.",
        metavar="N",
        show=_same,
    ),
    Option(
        "max_pending_bytes",
        "limits.max_pending_bytes",
        _size,
        64 * 2**20,
        "Bytes of proposals that wait for a leader.",
        metavar="SIZE",
        show=_size_text,
    ),
    Option(
        "max_clients",
        "limits.max_clients",
        _count,
        4096,
        "Connections to the admin socket.",
        metavar="N",
        show=_same,
    ),
    Option(
        "shutdown_timeout",
        "shutdown.timeout",
        _duration,
        10.0,
        "Longest orderly stop.",
        metavar="DURATION",
        show=_seconds_text,
    ),
    Option(
        "transfer_on_stop",
        "shutdown.transfer_leader",
        _switch,
        True,
        "Hand leadership over before stopping.",
        switch=True,
        show=_same,
    ),
    Option(
        "log_level",
        "log.level",
        _choice("debug", "info", "warning", "error"),
        "info",
        "Least severe message that is logged.",
        metavar="LEVEL",
    ),
    Option(
        "log_format",
        "log.format",
        _choice("auto", "console", "json"),
        "auto",
        "auto: console on a terminal, JSON otherwise.",
        metavar="FORMAT",
    ),
    Option(
        "loop",
        "runtime.loop",
        _choice("auto", "asyncio", "uvloop"),
        "auto",
        "Event loop; auto takes uvloop if it is installed.",
        metavar="LOOP",
    ),
)

_BY_NAME: Final = {option.name: option for option in OPTIONS}
_BY_KEY: Final = {option.key: option for option in OPTIONS}
_BY_ENV: Final = {option.env_name: option for option in OPTIONS}

_RESERVED_ENV: Final = frozenset({"RAFTD_CONFIG", "RAFTD_FAIL"})


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What one daemon runs with: every option resolved; see `OPTIONS` for meaning and defaults.

    Durations are seconds, sizes bytes, addresses ``host:port``.
    """

    node_id: int
    peers: Mapping[int, str]
    data_dir: Path
    join: tuple[str, ...]
    cluster_token: str
    state_machine: str
    listen: str
    advertise: str
    insecure_peers: bool
    admin_socket: Path
    admin_mode: int
    heartbeat: float
    election_timeout: float
    max_size_per_msg: int
    max_inflight_msgs: int
    max_inflight_bytes: int
    max_uncommitted_size: int
    max_committed_size: int
    fsync: str
    compact_entries: int
    compact_trailing: int
    compact_trailing_bytes: int
    snapshot_entries: int
    max_entry_bytes: int
    max_pending: int
    max_pending_bytes: int
    max_clients: int
    shutdown_timeout: float
    transfer_on_stop: bool
    log_level: str
    log_format: str
    loop: str
    origins: Mapping[str, str]
    """Where each option's value came from: ``flag``, ``env``, ``file`` or ``default``."""

    @property
    def tick_interval(self) -> float:
        """Seconds of one tick of the core."""
        return self.heartbeat / TICKS_PER_HEARTBEAT

    @property
    def election_ticks(self) -> int:
        """The election timeout in ticks."""
        return max(TICKS_PER_HEARTBEAT + 1, round(self.election_timeout / self.tick_interval))

    def shown(self) -> dict[str, dict[str, Any]]:
        """Return {section: {key: value as it would be written in the file}}."""
        sections: dict[str, dict[str, Any]] = {}
        for option in OPTIONS:
            section, _, key = option.key.partition(".")
            sections.setdefault(section, {})[key] = option.show(getattr(self, option.name))
        return sections


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> DaemonConfig:
    """Resolve every option and check that together they make sense.

    Args:
        flags: Option name to the text or texts given on the command line; absent if not given.
        environ: The environment; None for the process's own.
        file: A TOML file; None for the one named by ``RAFTD_CONFIG``, if any.

    Raises:
        ConfigError: an unreadable file, an unknown key or variable, a bad value, a contradiction.
    """
    environ = os.environ if environ is None else environ
    _refuse_unknown_environment(environ)
    if file is None and environ.get("RAFTD_CONFIG"):
        file = Path(environ["RAFTD_CONFIG"])
    from_file = _read_file(file) if file is not None else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option in OPTIONS:
        if option.name in flags:
            raw, origin, where = flags[option.name], "flag", f"--{option.flag_name}"
        elif option.env_name in environ:
            raw, origin, where = environ[option.env_name], "env", option.env_name
        elif option.name in from_file:
            raw, origin, where = from_file[option.name], "file", f"{option.key} in {file}"
        else:
            values[option.name], origins[option.name] = option.default, "default"
            continue
        try:
            values[option.name] = option.parse(raw)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
        origins[option.name] = origin
    return _settle(values, origins)


def _settle(values: dict[str, Any], origins: dict[str, str]) -> DaemonConfig:
    """Fill what depends on other options, and refuse contradictions."""
    node_id = values["node_id"]
    if node_id is None:
        raise ConfigError("no id: say which node this is with --id N (or RAFTD_ID, or node.id)")
    peers: dict[int, str] = values["peers"]
    own = peers.get(node_id)
    if values["join"]:
        if own is not None:
            raise ConfigError(
                f"--join and an own entry {node_id}={own} in --peers contradict each other: "
                "a node of --peers makes the group, a --join node is added to it later"
            )
        if values["listen"] is None and values["advertise"] is None:
            raise ConfigError("--join needs --listen host:port, where peers reach this node")
    elif peers and own is None:
        raise ConfigError(
            f"id {node_id} is not in --peers ({', '.join(map(str, sorted(peers)))}): add its own "
            "entry there if it is a first voter, or use --join to have it added to a running group"
        )
    values["listen"] = values["listen"] or own or values["advertise"]
    values["advertise"] = values["advertise"] or own or values["listen"]
    if values["listen"] is None:
        raise ConfigError(
            "no peers: give the group's first voters with --peers 1=host:port,2=host:port,... "
            "or the members to announce this node to with --join host:port,..."
        )
    if not values["insecure_peers"]:
        _refuse_plaintext([values["listen"], values["advertise"], *peers.values(), *values["join"]])
    if values["election_timeout"] < 2 * values["heartbeat"]:
        raise ConfigError(
            f"election timeout {_seconds_text(values['election_timeout'])} is below twice the "
            f"heartbeat {_seconds_text(values['heartbeat'])}: one late heartbeat would depose the "
            "leader; ten heartbeats are usual"
        )
    if values["heartbeat"] < 0.004:
        raise ConfigError("a heartbeat below 4ms is finer than the event loop's timers")
    for name, least in (("max_inflight_msgs", 1), ("max_pending", 1), ("max_clients", 1)):
        if values[name] < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}")
    if not 1 <= values["max_entry_bytes"] <= 4 * 2**20:
        raise ConfigError("--max-entry-bytes goes from 1 to 4MiB: a frame holds 8MiB")
    if not 1 <= values["max_size_per_msg"] <= 4 * 2**20:
        raise ConfigError("--max-size-per-msg goes from 1 to 4MiB: a frame holds 8MiB")
    if values["max_inflight_bytes"] < values["max_size_per_msg"]:
        raise ConfigError("--max-inflight-bytes is below --max-size-per-msg: nothing could be sent")
    values["data_dir"] = values["data_dir"] or Path(f"raftd-{node_id}")
    values["admin_socket"] = values["admin_socket"] or paths.socket_path(node_id)
    if len(os.fsencode(os.path.abspath(values["admin_socket"]))) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(
            f"--admin-socket {values['admin_socket']} is longer than the {SOCKET_PATH_BYTES_MAX} "
            "bytes a socket's path may have: choose a shorter one"
        )
    return DaemonConfig(origins=origins, **values)


def _refuse_plaintext(addresses: Sequence[str]) -> None:
    for address in addresses:
        host, _ = split_address(address)
        if host == "localhost":
            continue
        try:
            if ipaddress.ip_address(host).is_loopback:
                continue
        except ValueError:
            pass
        raise ConfigError(
            f"{address} is not on the loopback interface, and peer traffic is not encrypted: "
            "add --insecure-peers if the network between the nodes is trusted"
        )


def _refuse_unknown_environment(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if name.startswith("RAFTD_") and name not in _BY_ENV and name not in _RESERVED_ENV:
            raise ConfigError(f"unknown variable {name}{_did_you_mean(name, _BY_ENV)}")


def _did_you_mean(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _read_file(file: Path) -> dict[str, Any]:
    """Return {option name: raw value} of a TOML file."""
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    found: dict[str, Any] = {}
    for section, content in document.items():
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: unknown key {section}{_did_you_mean(section, _BY_KEY)}")
        for key, value in content.items():
            option = _BY_KEY.get(f"{section}.{key}")
            if option is None:
                name = f"{section}.{key}"
                raise ConfigError(f"{file}: unknown key {name}{_did_you_mean(name, _BY_KEY)}")
            found[option.name] = value
    return found


assert {field.name for field in fields(DaemonConfig)} == {*_BY_NAME, "origins"}
