"""The daemon's settings, resolved: flags over environment over a TOML file over defaults.

Giving the same option twice is never an error. What is not an option is: an unknown key of the file
or an unknown ``RAFTD_*`` variable is refused with the nearest known name, because a misspelt limit
that is silently ignored is found out in an outage.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from raftd.options import BY_ENV, BY_KEY, BY_NAME, OPTIONS, Option
from raftd.values import ID_MAX, seconds_text, split_address
from raftwire import paths
from raftwire.limits import SOCKET_PATH_BYTES_MAX

__all__ = [
    "ID_MAX",
    "OPTIONS",
    "TICKS_PER_HEARTBEAT",
    "Adopted",
    "ConfigError",
    "DaemonConfig",
    "Option",
    "Sources",
    "load",
    "split_address",
]

TICKS_PER_HEARTBEAT: Final = 4
"""A tick is a quarter of a heartbeat: randomised election timeouts get 40 values, not 10."""

_RESERVED_ENV: Final = frozenset({"RAFTD_CONFIG", "RAFTD_FAIL"})


class ConfigError(Exception):
    """Settings that cannot be used; a line for each, naming it, where it came from, what would do.

    Attributes:
        problems: The lines.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings were read from, so that they can be read again.

    Attributes:
        flags: Option name to the text or texts of the command line; absent if not given.
        environ: The environment at the start.
        file: The TOML file; None: there is none.
    """

    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    file: Path | None


class Adopted(NamedTuple):
    """What a reload did, as keys of the file."""

    changed: list[str]
    """In force now."""
    needs_restart: list[str]
    """Different now, and only read when the daemon starts."""


@dataclass(slots=True)
class DaemonConfig:
    """What one daemon runs with: every option resolved; see `OPTIONS` for meaning and defaults.

    Durations are seconds, sizes bytes, addresses ``host:port``. All parts of a daemon look at one
    object of this class; a reload changes it in place (`adopt`), and nothing else ever does.
    """

    node_id: int
    data_dir: Path
    peers: Mapping[int, str]
    join: tuple[str, ...]
    bootstrap: str
    cluster_token: str
    state_machine: str
    listen: str
    advertise: str
    insecure_peers: bool
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    tls_crl: Path | None
    tls_reload: float
    admin_socket: Path
    admin_mode: int
    admin_group: str | None
    admin_readonly_group: str | None
    metrics_listen: str | None
    heartbeat: float
    election_timeout: float
    pre_vote: bool
    check_quorum: bool
    max_size_per_msg: int
    max_inflight_msgs: int
    max_inflight_bytes: int
    max_uncommitted_size: int
    max_committed_size: int
    read_mode: str
    fsync: str
    quota: int
    min_free_disk: int
    compact_entries: int
    compact_trailing: int
    compact_trailing_bytes: int
    snapshot_entries: int
    snapshot_bytes: int
    snapshot_keep: int
    snapshot_rate: int
    max_entry_bytes: int
    max_pending: int
    max_pending_bytes: int
    max_apply_lag: int
    max_clients: int
    dedup_entries: int
    dedup_ttl: float
    history_entries: int
    history_bytes: int
    history_age: float
    shutdown_timeout: float
    transfer_on_stop: bool
    joint_warn_after: float
    log_level: str
    log_format: str
    log_file: Path | None
    slow_fsync: float
    slow_apply: float
    loop: str
    origins: Mapping[str, str]
    """Where each option's value came from: ``flag``, ``env NAME``, ``file PATH``, ``default``."""
    sources: Sources
    """What the settings were read from."""

    @property
    def tick_interval(self) -> float:
        """Seconds of one tick of the core."""
        return self.heartbeat / TICKS_PER_HEARTBEAT

    @property
    def election_ticks(self) -> int:
        """The election timeout in ticks."""
        return max(TICKS_PER_HEARTBEAT + 1, round(self.election_timeout / self.tick_interval))

    @property
    def tls(self) -> bool:
        """Whether peer traffic is encrypted."""
        return self.tls_cert is not None

    def shown(self) -> dict[str, dict[str, Any]]:
        """Return {section: {key: value as it would be written in the file}}."""
        sections: dict[str, dict[str, Any]] = {}
        for option in OPTIONS:
            section, _, key = option.key.partition(".")
            sections.setdefault(section, {})[key] = option.shown(getattr(self, option.name))
        return sections

    def adopt(self, other: "DaemonConfig") -> Adopted:
        """Take over from ``other`` what may change while the daemon runs; return what differs."""
        adopted = Adopted([], [])
        origins = dict(self.origins)
        for option in OPTIONS:
            new = getattr(other, option.name)
            if new == getattr(self, option.name):
                continue
            if option.reload:
                setattr(self, option.name, new)
                origins[option.name] = other.origins[option.name]
                adopted.changed.append(option.key)
            else:
                adopted.needs_restart.append(option.key)
        self.origins = origins
        return adopted


assert {field.name for field in fields(DaemonConfig)} == {*BY_NAME, "origins", "sources"}


# --- reading ----------------------------------------------------------------------------------


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> DaemonConfig:
    """Resolve every option and check that together they make sense.

    Args:
        flags: Option name to the text or texts given on the command line; absent if not given.
        environ: The environment; None for the process's own. A variable that is empty is as good
            as none.
        file: A TOML file; None for the one named by ``RAFTD_CONFIG``, if any.

    Raises:
        ConfigError: an unreadable file, an unknown key or variable, a bad value, a contradiction.
    """
    environ = os.environ if environ is None else environ
    if file is None and environ.get("RAFTD_CONFIG"):
        file = Path(environ["RAFTD_CONFIG"])
    problems = _unknown_variables(environ)
    from_file = _read_file(file, problems) if file is not None else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option in OPTIONS:
        if option.name in flags:
            raw, origin, where = flags[option.name], "flag", f"--{option.flag_name}"
        elif environ.get(option.env_name):
            raw = environ[option.env_name]
            origin, where = f"env {option.env_name}", option.env_name
        elif option.name in from_file:
            raw, origin = from_file[option.name], f"file {file}"
            where = f"{option.key} in {file}"
        else:
            values[option.name], origins[option.name] = option.default, "default"
            continue
        origins[option.name] = origin
        try:
            values[option.name] = option.parse(raw)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise ConfigError(*problems)
    _settle(values)
    kept = {name: value for name, value in environ.items() if name.startswith("RAFTD_")}
    return DaemonConfig(origins=origins, sources=Sources(dict(flags), kept, file), **values)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    return [
        f"unknown variable {name}{_did_you_mean(name, BY_ENV)}"
        for name in sorted(environ)
        if name.startswith("RAFTD_") and name not in BY_ENV and name not in _RESERVED_ENV
    ]


def _did_you_mean(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _key_meant(section: str, key: str) -> str:
    """Return the advice about a key that does not exist."""
    # Most often it is right but for its section, or written like the flag.
    word = key.replace("-", "_")
    for option in OPTIONS:
        if word in (option.key.partition(".")[2], option.name, option.flag_name.replace("-", "_")):
            return f": did you mean {option.key}?"
    return _did_you_mean(f"{section}.{key}", BY_KEY)


def _read_file(file: Path, problems: list[str]) -> dict[str, Any]:
    """Return {option name: raw value} of a TOML file, adding what is wrong with it."""
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply to be read") from None
    found: dict[str, Any] = {}
    sections = dict.fromkeys(option.section for option in OPTIONS)
    for section, content in document.items():
        if not isinstance(content, dict):
            problems.append(f"{file}: unknown key {section}{_key_meant('', section)}")
        elif section not in sections:
            problems.append(f"{file}: unknown section {section}{_did_you_mean(section, sections)}")
        else:
            for key, value in content.items():
                option = BY_KEY.get(f"{section}.{key}")
                if option is None:
                    advice = _key_meant(section, key)
                    problems.append(f"{file}: unknown key {section}.{key}{advice}")
                else:
                    found[option.name] = value
    return found


# --- making sense of it -----------------------------------------------------------------------


def _settle(values: dict[str, Any]) -> None:
    """Fill what depends on other options, and refuse contradictions."""
    node_id = values["node_id"]
    if node_id is None:
        raise ConfigError("no id: say which node this is with --id N (or RAFTD_ID, or node.id)")
    _settle_addresses(values, node_id)
    _check_tls(values)
    if not values["insecure_peers"] and values["tls_cert"] is None:
        peers: dict[int, str] = values["peers"]
        _refuse_plaintext([values["listen"], values["advertise"], *peers.values(), *values["join"]])
    problems = _check_numbers(values)
    if values["read_mode"] == "lease" and not values["check_quorum"]:
        problems.append(
            "--read-mode lease needs --check-quorum: without it a leader never learns that "
            "another was elected, and would answer from its lease for ever"
        )
    if values["admin_readonly_group"] and values["admin_mode"] & 0o006 != 0o006:
        problems.append(
            "--admin-readonly-group needs a socket that its members may open: --admin-mode 0666 "
            "(whoever is in neither group is still turned away)"
        )
    if values["admin_group"] and not values["admin_mode"] & 0o060:
        problems.append("--admin-group needs a socket that the group may open: --admin-mode 0660")
    if problems:
        raise ConfigError(*problems)
    values["data_dir"] = values["data_dir"] or Path(f"raftd-{node_id}")
    values["admin_socket"] = values["admin_socket"] or Path(paths.socket_path(node_id))
    if len(os.fsencode(os.path.abspath(values["admin_socket"]))) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(
            f"--admin-socket {values['admin_socket']} is longer than the {SOCKET_PATH_BYTES_MAX} "
            "bytes a socket's path may have: choose a shorter one"
        )


def _settle_addresses(values: dict[str, Any], node_id: int) -> None:
    peers: dict[int, str] = values["peers"]
    own = peers.get(node_id)
    if values["bootstrap"] == "new" and values["join"]:
        raise ConfigError("--bootstrap new makes a group, --join joins one: give one of them")
    if values["bootstrap"] == "join" and not values["join"]:
        raise ConfigError("--bootstrap join needs --join host:port, members to announce itself to")
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


def _check_tls(values: dict[str, Any]) -> None:
    given = [name for name in ("tls_cert", "tls_key", "tls_ca") if values[name] is not None]
    if given and len(given) < 3:
        missing = [f"--{n.replace('_', '-')}" for n in ("tls_cert", "tls_key", "tls_ca")]
        missing = [flag for flag in missing if flag[2:].replace("-", "_") not in given]
        raise ConfigError(
            f"TLS between peers needs certificate, key and authority: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    if values["tls_crl"] is not None and not given:
        raise ConfigError("--tls-crl means nothing without --tls-cert, --tls-key and --tls-ca")
    if given and values["insecure_peers"]:
        raise ConfigError("--insecure-peers and --tls-cert contradict each other: drop one")


def _check_numbers(values: dict[str, Any]) -> list[str]:
    problems = []
    if values["election_timeout"] < 2 * values["heartbeat"]:
        problems.append(
            f"election timeout {seconds_text(values['election_timeout'])} is below twice the "
            f"heartbeat {seconds_text(values['heartbeat'])}: one late heartbeat would depose the "
            "leader; ten heartbeats are usual"
        )
    if values["heartbeat"] < 0.004:
        problems.append("a heartbeat below 4ms is finer than the event loop's timers")
    problems += [
        f"--{name.replace('_', '-')} must be at least 1"
        for name in (
            "max_inflight_msgs",
            "max_pending",
            "max_clients",
            "snapshot_keep",
            "dedup_entries",
        )
        if values[name] < 1
    ]
    problems += [
        f"--{name.replace('_', '-')} goes from 1 to 4MiB: a frame holds 8MiB"
        for name in ("max_entry_bytes", "max_size_per_msg")
        if not 1 <= values[name] <= 4 * 2**20
    ]
    if values["max_inflight_bytes"] < values["max_size_per_msg"]:
        problems.append("--max-inflight-bytes is below --max-size-per-msg: nothing could be sent")
    if values["max_uncommitted_size"] < values["max_size_per_msg"]:
        problems.append(
            "--max-uncommitted-size is below --max-size-per-msg: no message could be filled"
        )
    if values["snapshot_rate"] and values["snapshot_rate"] < 2**16:
        problems.append("--snapshot-rate below 64KiB a second would never finish; 0 is no limit")
    return problems


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
            "give --tls-cert, --tls-key and --tls-ca (`raftctl tls init` and `raftctl tls issue` "
            "make them), or add --insecure-peers if the network between the nodes is trusted"
        )
