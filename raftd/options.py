"""The table of raftd's options: flag, variable, key of the file, default, meaning.

The one place that names them. The command line, the environment, the file, ``--print-config``,
``--sample-config``, the manual and the completions are all made from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from raftd import values


class Kind(NamedTuple):
    """How values of an option are read, shown and called."""

    parse: Callable[[Any], Any]
    show: Callable[[Any], Any]
    metavar: str


_ID: Final = Kind(values.node_id, values.same, "N")
_COUNT: Final = Kind(values.count, values.same, "N")
_SIZE: Final = Kind(values.size, values.size_text, "SIZE")
_DURATION: Final = Kind(values.duration, values.seconds_text, "DURATION")
_INTERVAL: Final = Kind(values.duration_or_zero, values.seconds_text, "DURATION")
_ADDRESS: Final = Kind(values.address, str, "ADDR")
_ADDRESSES: Final = Kind(values.addresses, list, "ADDR,...")
_PEERS: Final = Kind(values.peers, values.peers_table, "ID=ADDR,...")
_SWITCH: Final = Kind(values.switch, values.same, "")
_FILE: Final = Kind(values.path, str, "FILE")
_NAME: Final = Kind(values.text, str, "NAME")
_GROUP: Final = Kind(values.text, str, "GROUP")
_MODE: Final = Kind(values.mode, values.mode_text, "OCTAL")


def _one_of(metavar: str, *words: str) -> Kind:
    return Kind(values.choice(*words), str, metavar)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its place everywhere, how it is read and shown.

    Attributes:
        name: The field of ``DaemonConfig``; the flag is this with dashes unless ``flag`` is set.
        key: ``section.key`` of the file.
        kind: How its values are read and shown.
        default: Its value when nobody gives one; None: worked out from the others, or none.
        help: What it does, in a sentence or two.
        flag: The flag without its dashes, where it is not the name.
        repeatable: Whether the flag may be given more than once.
        reload: Whether a running daemon takes a new value on SIGHUP.
    """

    name: str
    key: str
    kind: Kind
    default: Any
    help: str
    flag: str = ""
    repeatable: bool = False
    reload: bool = False

    @property
    def parse(self) -> Callable[[Any], Any]:
        """Reads a value; raises ValueError."""
        return self.kind.parse

    @property
    def show(self) -> Callable[[Any], Any]:
        """Returns a value as the file writes it."""
        return self.kind.show

    @property
    def metavar(self) -> str:
        """What a value is called in the help."""
        return self.kind.metavar

    @property
    def switch(self) -> bool:
        """Whether the flag takes no value, and has a ``--no-`` form."""
        return self.kind is _SWITCH

    @property
    def flag_name(self) -> str:
        """The flag without its two dashes."""
        return self.flag or self.name.replace("_", "-")

    @property
    def env_name(self) -> str:
        """The environment variable."""
        return "RAFTD_" + self.flag_name.replace("-", "_").upper()

    @property
    def section(self) -> str:
        """The section of the file."""
        return self.key.partition(".")[0]

    def shown(self, value: Any) -> Any:
        """Return a value as the file writes it; None if there is none."""
        return None if value is None else self.show(value)


OPTIONS: Final[tuple[Option, ...]] = (
    # -- node, cluster -------------------------------------------------------------------------
    Option("node_id", "node.id", _ID, None, "This node's id, unique in its group for ever.", "id"),
    Option(
        "data_dir", "node.data_dir", Kind(values.path, str, "DIR"), None,
        "Where the node keeps its data. Default: ./raftd-<id>.",
    ),
    Option(
        "peers", "cluster.peers", _PEERS, {},
        "The group's first voters: 1=host:port,2=host:port,...; @FILE reads them from a file.",
        repeatable=True,
    ),
    Option(
        "join", "cluster.join", _ADDRESSES, (),
        "Start as a new node that waits to be added; addresses of members to announce itself to.",
        repeatable=True,
    ),
    Option(
        "bootstrap", "cluster.bootstrap", _one_of("MODE", "auto", "new", "join", "never"), "auto",
        "What may be made of an empty data directory: new takes --peers, join takes --join, auto "
        "whichever is given; never refuses, so that a lost disk cannot vote again.",
    ),
    Option(
        "cluster_token", "cluster.token", Kind(values.text, str, "TEXT"), "",
        "Told apart by this: two groups with the same first peers. Part of the cluster id. With "
        "TLS it must be the name in the certificates.",
    ),
    Option(
        "state_machine", "cluster.state_machine", _NAME, "log",
        "What entries are applied to: log, kv, or a plug-in's name. Fixed when the group is made.",
    ),
    # -- sockets -------------------------------------------------------------------------------
    Option(
        "listen", "listen.peer", _ADDRESS, None,
        "Address to listen on for peers. Default: this node's own entry in --peers.",
    ),
    Option(
        "advertise", "listen.advertise", _ADDRESS, None,
        "Address that peers reach this node at. Default: its own entry in --peers, else --listen.",
    ),
    Option(
        "insecure_peers", "listen.insecure_peers", _SWITCH, False,
        "Allow unencrypted peer traffic off the loopback interface.",
    ),
    Option(
        "tls_cert", "tls.cert", _FILE, None,
        "This node's certificate (PEM), naming it in a SAN URI raftd://CLUSTER/ID; with --tls-key "
        "and --tls-ca all peer traffic is mutual TLS 1.3. `raftctl tls issue` makes one.",
        reload=True,
    ),
    Option(
        "tls_key", "tls.key", _FILE, None,
        "The key of that certificate (PEM, no passphrase); readable by nobody else.",
        reload=True,
    ),
    Option(
        "tls_ca", "tls.ca", _FILE, None,
        "Certificates (PEM) of the authorities whose certificates peers may show.",
        reload=True,
    ),
    Option(
        "tls_crl", "tls.crl", _FILE, None,
        "Revoked certificates (PEM); each authority then needs a current list in it.",
        reload=True,
    ),
    Option(
        "tls_reload", "tls.reload_interval", _INTERVAL, 60.0,
        "How often to look whether the TLS files have changed; 0s: only on SIGHUP.",
        reload=True,
    ),
    Option(
        "admin_socket", "admin.socket", Kind(values.path, str, "PATH"), None,
        "Unix socket for raftctl. Default: <run dir>/<id>.sock.",
    ),
    Option(
        "admin_mode", "admin.mode", _MODE, 0o600,
        "File mode of the admin socket; 0600 serves only the daemon's own user and root.",
    ),
    Option(
        "admin_group", "admin.group", _GROUP, None,
        "Group that the admin socket is given to; its members may do everything. Needs a mode "
        "such as 0660.",
    ),
    Option(
        "admin_readonly_group", "admin.readonly_group", _GROUP, None,
        "Members of this group may look and read, and change nothing. Needs a mode such as 0666.",
    ),
    Option(
        "metrics_listen", "http.listen", _ADDRESS, None,
        "Serve /metrics, /livez, /readyz and a live page of the group over HTTP. Off by default.",
    ),
    # -- Raft ----------------------------------------------------------------------------------
    Option(
        "heartbeat", "raft.heartbeat", _DURATION, 0.1, "How often a leader is heard from.",
    ),
    Option(
        "election_timeout", "raft.election_timeout", _DURATION, 1.0,
        "Silence after which followers look for a new leader (up to twice this).",
    ),
    Option(
        "pre_vote", "raft.pre_vote", _SWITCH, True,
        "Ask before standing for election, so that a node that was cut off disturbs nobody.",
    ),
    Option(
        "check_quorum", "raft.check_quorum", _SWITCH, True,
        "Have a leader that hears from no majority step down.",
    ),
    Option(
        "max_size_per_msg", "raft.max_size_per_msg", _SIZE, 2**20,
        "Bytes of entries in one append message.",
    ),
    Option(
        "max_inflight_msgs", "raft.max_inflight_msgs", _COUNT, 256,
        "Append messages on their way to one follower.",
    ),
    Option(
        "max_inflight_bytes", "raft.max_inflight_bytes", _SIZE, 64 * 2**20,
        "Bytes of entries on their way to one follower.",
    ),
    Option(
        "max_uncommitted_size", "raft.max_uncommitted_size", _SIZE, 64 * 2**20,
        "Bytes of proposals a leader takes before they are committed.",
    ),
    Option(
        "max_committed_size", "raft.max_committed_size", _SIZE, 4 * 2**20,
        "Bytes of entries applied before other work gets its turn.",
    ),
    Option(
        "read_mode", "raft.read_mode", _one_of("MODE", "readindex", "lease"), "readindex",
        "How linearizable reads are confirmed: by a heartbeat round each time, or by the lease "
        "that answered heartbeats give, which trusts that no clock runs much faster than others. "
        "The same on all members.",
    ),
    # -- storage -------------------------------------------------------------------------------
    Option(
        "fsync", "storage.fsync", _one_of("MODE", "always", "unsafe-never"), "always",
        "Whether writes are made durable before they are answered. unsafe-never loses data on "
        "power loss.",
    ),
    Option(
        "quota", "storage.quota_bytes", _SIZE, 0,
        "Refuse proposals (QUOTA) while the data takes more than this; 0: no limit. Taken again "
        "below nine tenths of it.",
        reload=True,
    ),
    Option(
        "min_free_disk", "storage.min_free_bytes", _SIZE, 64 * 2**20,
        "Refuse proposals (QUOTA) while the file system has less than this free; 0: no limit. With "
        "less than 32m of room a node may stop: large values that it has applied are saved later.",
        reload=True,
    ),
    Option(
        "compact_entries", "storage.compact_entries", _COUNT, 5_000,
        "Entries that are dropped from the log at a time; 0: none ever is.",
        reload=True,
    ),
    Option(
        "compact_trailing", "storage.compact_trailing", _COUNT, 50_000,
        "Applied entries kept in the log, for slow followers and readers.",
        reload=True,
    ),
    Option(
        "compact_trailing_bytes", "storage.compact_trailing_bytes", _SIZE, 256 * 2**20,
        "Keep fewer of them if they take more than this, roughly.",
        reload=True,
    ),
    Option(
        "snapshot_entries", "snapshot.entries", _COUNT, 0,
        "Make a snapshot each time so many entries are applied; 0: when a follower needs one.",
        reload=True,
    ),
    Option(
        "snapshot_bytes", "snapshot.bytes", _SIZE, 0,
        "Make a snapshot each time so many bytes are written to log and state; 0: as above.",
        reload=True,
    ),
    Option(
        "snapshot_keep", "snapshot.keep", _COUNT, 2,
        "Complete snapshots kept on disk, the newest; at least 1.",
        reload=True,
    ),
    Option(
        "snapshot_rate", "snapshot.rate_bytes_per_s", _SIZE, 0,
        "Bytes a second of a snapshot on its way to one follower; 0: as fast as it goes.",
        reload=True,
    ),
    # -- limits --------------------------------------------------------------------------------
    Option(
        "max_entry_bytes", "limits.max_entry_bytes", _SIZE, 2**20, "Largest proposal.",
        reload=True,
    ),
    Option(
        "max_pending", "limits.max_pending", _COUNT, 10_000,
        "Proposals of this node's clients that wait for an answer.",
        reload=True,
    ),
    Option(
        "max_pending_bytes", "limits.max_pending_bytes", _SIZE, 64 * 2**20,
        "Bytes of proposals that wait for a leader.",
        reload=True,
    ),
    Option(
        "max_apply_lag", "limits.max_apply_lag", _COUNT, 50_000,
        "Refuse proposals (OVERLOADED) while more committed entries than this wait to be applied; "
        "0: no limit.",
        reload=True,
    ),
    Option(
        "max_clients", "limits.max_clients", _COUNT, 4096, "Connections to the admin socket.",
        reload=True,
    ),
    Option(
        "dedup_entries", "limits.dedup_entries", _COUNT, 100_000,
        "Idempotency keys that the group remembers, the newest. A group-wide setting: given on the "
        "leader, it is agreed on and holds on every member.",
        reload=True,
    ),
    Option(
        "dedup_ttl", "limits.dedup_ttl", _INTERVAL, 24 * 3600.0,
        "How long the group remembers an idempotency key; 0s: until there are too many. "
        "Group-wide, as above.",
        reload=True,
    ),
    Option(
        "history_entries", "history.entries", _COUNT, 100_000,
        "Applied entries (state machine log) or changes (kv) that the group keeps for readers; 0: "
        "no bound. Group-wide: given on the leader, it is agreed on and holds on every member.",
        reload=True,
    ),
    Option(
        "history_bytes", "history.bytes", _SIZE, 256 * 2**20,
        "Bytes of them that the group keeps; 0: no bound. Group-wide, as above.",
        reload=True,
    ),
    Option(
        "history_age", "history.age", _INTERVAL, 0.0,
        "How long the group keeps them; 0s: no bound. Group-wide, as above.",
        reload=True,
    ),
    # -- life ----------------------------------------------------------------------------------
    Option(
        "shutdown_timeout", "shutdown.timeout", _DURATION, 10.0, "Longest orderly stop.",
        reload=True,
    ),
    Option(
        "transfer_on_stop", "shutdown.transfer_leader", _SWITCH, True,
        "Hand leadership over before stopping.",
        reload=True,
    ),
    Option(
        "joint_warn_after", "membership.joint_warn_after", _INTERVAL, 60.0,
        "Warn when the group has been between two configurations for this long; 0s: never.",
        reload=True,
    ),
    Option(
        "log_level", "log.level", _one_of("LEVEL", "debug", "info", "warning", "error"), "info",
        "Least severe message that is logged.",
        reload=True,
    ),
    Option(
        "log_format", "log.format", _one_of("FORMAT", "auto", "console", "json"), "auto",
        "auto: console on a terminal, JSON otherwise.",
    ),
    Option(
        "log_file", "log.file", _FILE, None,
        "Log to this file instead of standard error; opened anew on SIGHUP.",
        reload=True,
    ),
    Option(
        "slow_fsync", "log.slow_fsync", _INTERVAL, 0.1,
        "Warn when making a write durable took longer than this; 0s: never.",
        reload=True,
    ),
    Option(
        "slow_apply", "log.slow_apply", _INTERVAL, 0.1,
        "Warn when writing and applying one batch took longer than this; 0s: never.",
        reload=True,
    ),
    Option(
        "loop", "runtime.loop", _one_of("LOOP", "auto", "asyncio", "uvloop"), "auto",
        "Event loop; auto takes uvloop if it is installed.",
    ),
)  # fmt: skip

BY_NAME: Final = {option.name: option for option in OPTIONS}
BY_KEY: Final = {option.key: option for option in OPTIONS}
BY_ENV: Final = {option.env_name: option for option in OPTIONS}
