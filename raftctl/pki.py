"""A private certificate authority for one group: its key in a file, certificates by node id.

Made with `cryptography`, which only this module imports, and only when it is used.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from raftctl.errors import CtlError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CLUSTER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a cluster may be called in a certificate."""

_URI: Final = re.compile(r"raftd://([A-Za-z0-9._-]{1,64})/([0-9]{0,16})")
_BACKDATED: Final = datetime.timedelta(minutes=5)
"""Certificates are good from a little before they are made: clocks differ."""
CRL_DAYS: Final = 30


@dataclass(frozen=True)
class Described:
    """A certificate, for people and scripts.

    Attributes:
        cluster, node_id: From ``raftd://CLUSTER/ID``; an authority has no id (0).
        not_before, not_after: Seconds since 1970.
    """

    path: str
    cluster: str
    node_id: int
    authority: bool
    issuer: str
    serial: str
    sha256: str
    not_before: float
    not_after: float
    hosts: list[str]

    @property
    def name(self) -> str:
        """``raftd://CLUSTER/ID``, or ``raftd://CLUSTER/`` for the authority."""
        return f"raftd://{self.cluster}/{self.node_id or ''}"


def make_authority(folder: Path, cluster: str, days: int) -> Described:
    """Write ``ca.crt`` and ``ca.key``, the authority of a cluster.

    Raises:
        CtlError: There is one already, or the files cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    for file in (certificate_file, key_file):
        if file.exists():
            raise CtlError(
                "USAGE",
                f"{file} exists; a second authority would not be trusted by who has the first.",
                hint="choose another --dir, or issue certificates with the one that is there",
            )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"raftd {cluster}")])
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder(name, name, public, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"raftd://{cluster}/")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(key_file, _pem_of_key(key), 0o600)
    _write(certificate_file, _pem(made), 0o644)
    return describe(certificate_file)


def issue(
    authority: Path, node_id: int, out: Path, days: int, hosts: Sequence[str], *, renew: bool
) -> Described:
    """Write ``node-ID.crt`` and ``node-ID.key``, signed by the authority in a folder.

    Raises:
        CtlError: There is no authority, or there are such files already and ``renew`` is not set.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    signer, signer_key, cluster = _authority(authority)
    certificate_file, key_file = out / f"node-{node_id}.crt", out / f"node-{node_id}.key"
    if not renew and (certificate_file.exists() or key_file.exists()):
        raise CtlError(
            "USAGE",
            f"{certificate_file} exists.",
            hint="say --renew to replace it; a running raftd takes the new one over by itself",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    uri = f"raftd://{cluster}/{node_id}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} node {node_id}")])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    names += [_host(host) for host in hosts]
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = (
        _builder(subject, signer.subject, public, days, not_after=signer.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_issuer_id(signer), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The key first: a daemon that looks between the two writes refuses the pair and looks again.
    _write(key_file, _pem_of_key(key), 0o600)
    _write(certificate_file, _pem(made), 0o644)
    return describe(certificate_file)


def revoke(authority: Path, files: Sequence[Path]) -> tuple[Path, list[str]]:
    """Write ``ca.crl`` anew: what was revoked before, and these certificates.

    Returns:
        The file, and the serial numbers in it.

    Raises:
        CtlError: A file is not a certificate of this authority.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    signer, signer_key, _ = _authority(authority)
    crl_file = authority / "ca.crl"
    now = datetime.datetime.now(datetime.UTC)
    revoked: dict[int, x509.RevokedCertificate] = {}
    if crl_file.exists():
        former = x509.load_pem_x509_crl(_read(crl_file))
        revoked = {entry.serial_number: entry for entry in former}
    for file in files:
        certificate = _load(file)
        if certificate.issuer != signer.subject:
            raise CtlError("USAGE", f"{file} was not issued by this authority.", hint="")
        revoked[certificate.serial_number] = (
            x509.RevokedCertificateBuilder()
            .serial_number(certificate.serial_number)
            .revocation_date(now)
            .build()
        )
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.subject)
        .last_update(now - _BACKDATED)
        .next_update(now + datetime.timedelta(days=CRL_DAYS))
        .add_extension(_issuer_id(signer), critical=False)
    )
    for entry in revoked.values():
        builder = builder.add_revoked_certificate(entry)
    _write(crl_file, _pem(builder.sign(signer_key, hashes.SHA256())), 0o644)
    return crl_file, [f"{serial:x}" for serial in revoked]


def describe(file: Path) -> Described:
    """Read the first certificate of a file.

    Raises:
        CtlError: It holds none.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    certificate = _load(file)
    cluster, node_id, hosts = "", 0, []
    authority = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            for name in value:
                if isinstance(name, x509.UniformResourceIdentifier):
                    found = _URI.fullmatch(name.value)
                    if found:
                        cluster, node_id = found[1], int(found[2] or 0)
                elif isinstance(name, (x509.DNSName, x509.IPAddress)):
                    hosts.append(str(name.value))
        elif isinstance(value, x509.BasicConstraints):
            authority = value.ca
    return Described(
        path=str(file),
        cluster=cluster,
        node_id=node_id,
        authority=authority,
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        hosts=hosts,
    )


# --- pieces -----------------------------------------------------------------------------------


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: object,
    days: int,
    not_after: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        # What outlives its authority is good for nothing.
        .not_valid_after(end if not_after is None else min(end, not_after))
    )


def _authority(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey, str]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file = folder / "ca.crt"
    if not file.exists():
        raise CtlError(
            "USAGE",
            f"there is no authority in {folder}: {file} does not exist.",
            hint=f"make one: raftctl tls init --cluster NAME --dir {folder}",
        )
    cluster = describe(file).cluster
    if not cluster:
        raise CtlError("USAGE", f"{file} names no cluster (a URI raftd://CLUSTER/).", hint="")
    try:
        key = load_pem_private_key(_read(folder / "ca.key"), None)
    except (ValueError, TypeError) as error:
        raise CtlError("USAGE", f"{folder / 'ca.key'} cannot be used: {error}.", hint="") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CtlError("USAGE", f"{folder / 'ca.key'} is not an elliptic-curve key.", hint="")
    return _load(file), key, cluster


def _issuer_id(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    from cryptography import x509

    found = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _host(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _load(file: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(file))
    except ValueError:
        raise CtlError("USAGE", f"{file} holds no certificate in PEM.", hint="") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CtlError("USAGE", f"cannot read {file}: {error.strerror}.", hint="") from None


def _pem(made: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return made.public_bytes(Encoding.PEM)


def _pem_of_key(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file that is never seen half, nor with another mode."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # Refused if somebody has put something there: a link would lead the key elsewhere.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CtlError("FAILED", f"cannot write {file}: {error.strerror}.", hint="") from None
