"""Who may talk to whom: mutual TLS 1.3 between peers, cluster and node in the certificate.

A certificate names its node in a URI among its alternative names: ``raftd://CLUSTER/ID``. CLUSTER
is a name that the operator gave (``raftctl tls init --cluster NAME``), not the 128-bit cluster id:
that is derived when the group is made, after the certificates are. A node takes the cluster's name
from its own certificate and speaks only to certificates that carry the same, from both ends of a
connection; the node's id in the certificate must be the one that the hello says, and the one that
was dialed. The cluster id in the hello is compared as well, as it is without TLS.

Both contexts are made anew on every reload, so an authority that is gone from the file is gone, and
with it the connections that it allowed; there are no session tickets to go on under an old one.
"""

import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from raftd.config import DaemonConfig
from raftd.log import Log
from raftwire.limits import HELLO_TIMEOUT_MS, NUMBER_MAX

EXPIRY_WARNING_MS: Final = 30 * 24 * 3600 * 1000
_DAY_SECONDS: Final = 24 * 3600.0
_NAME: Final = re.compile(r"raftd://([A-Za-z0-9._-]{1,64})/([1-9][0-9]{0,15})")
_AUTHORITIES: Final = slice(2, 4)
"""Where authorities and revocations stand among the stamps."""
HANDSHAKE_SECONDS: Final = HELLO_TIMEOUT_MS / 1000


class SecurityError(Exception):
    """A certificate that does not do; the text says why, and what would."""


class PeerName(NamedTuple):
    """Whom a certificate names."""

    cluster: str
    node_id: int

    def __str__(self) -> str:
        return f"raftd://{self.cluster}/{self.node_id}"


class Material(NamedTuple):
    """What one reading of the files gave."""

    name: PeerName
    server: ssl.SSLContext
    client: ssl.SSLContext
    not_after_ms: int
    ca_not_after_ms: int
    loaded_ms: int
    stamps: tuple[object, ...]


class Security:
    """How connections between peers are protected; this one: not at all."""

    server: ssl.SSLContext | None = None
    """For accepted connections; None: plaintext."""
    client: ssl.SSLContext | None = None
    """For dialed connections."""
    material: Material | None = None
    error = ""
    """Why newer files are not used; empty: they are."""

    def check(self, certificate: Mapping[str, Any] | None, node_id: int) -> PeerName | None:
        """Return whom a peer's certificate names.

        Args:
            certificate: As ``getpeercert`` has it.
            node_id: Who is meant; 0: any node of the cluster.

        Raises:
            SecurityError: It is of another cluster or another node.
        """
        return None

    def reload(self) -> None:
        """Read the files again.

        Raises:
            OSError, ValueError: They cannot be used; what was used before still is.
        """

    def look(self, now: float) -> None:
        """Take over files that have changed, now and then; ``now`` is the loop's time."""


PLAINTEXT: Final = Security()


class Tls(Security):
    """Mutual TLS 1.3.

    Args:
        now_ms: Returns the wall clock, which certificates are about.

    Raises:
        SecurityError: The files cannot be used.
    """

    def __init__(self, config: DaemonConfig, log: Log, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._log = log
        self._now_ms = now_ms
        self._looked_at = 0.0
        self._warned_at = -_DAY_SECONDS
        self.material: Material = load(config, now_ms())
        self.on_new_authorities: list[Callable[[], None]] = []
        """Called when others than before are trusted: what is open was let in by the old ones."""
        self._tell()

    @property
    def server(self) -> ssl.SSLContext:  # type: ignore[override]
        """For accepted connections."""
        return self.material.server

    @property
    def client(self) -> ssl.SSLContext:  # type: ignore[override]
        """For dialed connections."""
        return self.material.client

    def check(self, certificate: Mapping[str, Any] | None, node_id: int) -> PeerName:
        """Return whom a peer's certificate names; see `Security`."""
        name = name_in(certificate)
        mine = self.material.name
        if name.cluster != mine.cluster:
            raise SecurityError(
                f"the certificate is for {name}, of another cluster than ours ({mine.cluster})"
            )
        if name.node_id == mine.node_id:
            raise SecurityError(f"the certificate is our own, for {name}: it must be ours alone")
        if node_id and name.node_id != node_id:
            raise SecurityError(f"the certificate is for {name}, not for node {node_id}")
        return name

    def reload(self) -> None:
        """Read the files again; see `Security`."""
        former = self.material.stamps[_AUTHORITIES]
        try:
            self.material = load(self._config, self._now_ms())
        except SecurityError as error:
            self.error = str(error)
            self._log.error("certificates not loaded", reason=self.error)
            raise ValueError(self.error) from None
        self.error = ""
        self._warned_at = -_DAY_SECONDS
        self._tell()
        if self.material.stamps[_AUTHORITIES] != former:
            for callback in self.on_new_authorities:
                callback()

    def look(self, now: float) -> None:
        """Take over files that have changed, and warn before they expire."""
        interval = self._config.tls_reload
        if interval and now - self._looked_at >= interval:
            self._looked_at = now
            if _stamps(self._config) != self.material.stamps:
                try:
                    self.reload()
                except ValueError:
                    # Said once; the half-written file of a moment ago is read again when it is
                    # whole, because its stamp changes again.
                    self.material = self.material._replace(stamps=_stamps(self._config))
        first = min(self.material.not_after_ms, self.material.ca_not_after_ms)
        left_ms = first - self._now_ms()
        if left_ms < EXPIRY_WARNING_MS and now - self._warned_at >= _DAY_SECONDS:
            self._warned_at = now
            self._log.warning(
                "certificate expires soon",
                days=left_ms // (24 * 3600 * 1000),
                which="own" if self.material.not_after_ms == first else "authority",
                advice="issue a new one (raftctl tls issue) and put it in place; no restart needed",
            )

    def _tell(self) -> None:
        self._log.info(
            "certificates loaded",
            name=str(self.material.name),
            days=(self.material.not_after_ms - self._now_ms()) // (24 * 3600 * 1000),
        )


# --- reading the files ------------------------------------------------------------------------


def load(config: DaemonConfig, now_ms: int) -> Material:
    """Read certificate, key and authorities, and prove that they fit together.

    Raises:
        SecurityError: They cannot be read, do not fit, have expired, or name another node.
    """
    assert config.tls_cert is not None
    assert config.tls_key is not None
    assert config.tls_ca is not None
    stamps = _stamps(config)
    _check_key_mode(config.tls_key)
    server = _context(config, ssl.PROTOCOL_TLS_SERVER)
    client = _context(config, ssl.PROTOCOL_TLS_CLIENT)
    certificate = _own_certificate(server, client, config.tls_cert)
    try:
        name = name_in(certificate)
    except SecurityError as error:
        raise SecurityError(f"{config.tls_cert}: {error}") from None
    if name.node_id != config.node_id:
        raise SecurityError(
            f"{config.tls_cert} is the certificate of node {name.node_id}, this is node "
            f"{config.node_id}: every node needs its own (raftctl tls issue {config.node_id})"
        )
    if config.cluster_token and config.cluster_token != name.cluster:
        raise SecurityError(
            f"{config.tls_cert} is for cluster {name.cluster!r}, --cluster-token says "
            f"{config.cluster_token!r}: leave the token out, or make them the same"
        )
    return Material(
        name=name,
        server=server,
        client=client,
        not_after_ms=_ms(certificate["notAfter"]),
        ca_not_after_ms=min(_ms(str(ca["notAfter"])) for ca in server.get_ca_certs()),
        loaded_ms=now_ms,
        stamps=stamps,
    )


def name_in(certificate: Mapping[str, Any] | None) -> PeerName:
    """Return the node that a certificate names.

    Raises:
        SecurityError: It names none, or more than one.
    """
    found = [
        value
        for kind, value in (certificate or {}).get("subjectAltName", ())
        if kind == "URI" and str(value).startswith("raftd:")
    ]
    if len(found) != 1:
        raise SecurityError(
            f"a certificate names one node in a SAN URI raftd://CLUSTER/ID; this names {len(found)}"
        )
    parts = _NAME.fullmatch(str(found[0]))
    if parts is None or int(parts[2]) > NUMBER_MAX:
        raise SecurityError(f"{found[0]!r} is not of the form raftd://CLUSTER/ID")
    return PeerName(parts[1], int(parts[2]))


def _context(config: DaemonConfig, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Nodes are known by their ids, not by host names: `Security.check` compares them.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    try:
        context.load_verify_locations(cafile=str(config.tls_ca))
        if config.tls_crl is not None:
            context.load_verify_locations(cafile=str(config.tls_crl))
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (ssl.SSLError, OSError) as error:
        raise SecurityError(
            f"cannot use the authorities in {config.tls_ca}: {_why(error)}"
        ) from None
    if not context.get_ca_certs():
        raise SecurityError(f"{config.tls_ca} holds no certificate of an authority")
    try:
        # A passphrase would be asked for on a terminal that nobody looks at.
        context.load_cert_chain(str(config.tls_cert), str(config.tls_key), password=_no_passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SecurityError(
            f"cannot use certificate {config.tls_cert} with key {config.tls_key}: {_why(error)}"
        ) from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; a daemon needs one without")


def _own_certificate(
    server: ssl.SSLContext, client: ssl.SSLContext, file: Path
) -> Mapping[str, Any]:
    """Shake hands with ourselves, in memory: return the certificate as a peer would see it.

    Whatever a peer would refuse about it is found out here, before there is one.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    try:
        for _ in range(10):
            for n, end in enumerate(ends):
                if not done[n]:
                    try:
                        end.do_handshake()
                        done[n] = True
                    except ssl.SSLWantReadError:
                        continue
            if all(done):
                break
    except ssl.SSLError as error:
        raise SecurityError(
            f"peers would not accept {file}: {_why(error)}; is it signed by one of --tls-ca, "
            "meant for both server and client use, and not expired?"
        ) from None
    certificate = ends[0].getpeercert()
    if not certificate:
        raise SecurityError(f"{file} cannot be read as a certificate")
    return certificate


def _check_key_mode(file: Path) -> None:
    try:
        found = file.stat()
    except OSError as error:
        raise SecurityError(f"cannot read the key {file}: {error.strerror}") from None
    if stat.S_IMODE(found.st_mode) & 0o007:
        raise SecurityError(f"everybody may read the key {file}: chmod 600 it")


def _stamps(config: DaemonConfig) -> tuple[object, ...]:
    """Return what changes when one of the files does."""
    found: list[object] = []
    for file in (config.tls_cert, config.tls_key, config.tls_ca, config.tls_crl):
        try:
            status = os.stat(file) if file is not None else None
        except OSError:
            found.append(None)
        else:
            found.append(status and (status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _ms(words: str) -> int:
    return ssl.cert_time_to_seconds(words) * 1000


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def why_not(error: BaseException) -> str:
    """Return in words why a handshake failed."""
    if isinstance(error, (TimeoutError, ConnectionAbortedError)):
        return "the TLS handshake was not finished in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_why(error)}"
    return str(error) or "the connection was closed during the TLS handshake"
