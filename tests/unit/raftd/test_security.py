"""Certificates between peers: who is let in, who is not, and what a start refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from raftd.config import DaemonConfig, load
from raftd.log import Log
from raftd.transport.inbound import Connection, Inbound, Session
from raftd.transport.outbound import dial
from raftd.transport.security import PLAINTEXT, Security, SecurityError, Tls, name_in
from raftwire.errors import Code, HelloRefused, RemoteError
from raftwire.peer import Expectations, Hello, PeerFrame
from tests.harness.certificates import Authority

CLUSTER_ID = bytes(range(16))


class Told:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))

    warning = error = debug = info


def settings(arguments: list[str], node_id: int = 1, **flags: str) -> DaemonConfig:
    files = dict(zip(arguments[::2], arguments[1::2], strict=True))
    return load(
        {
            "node_id": str(node_id),
            "peers": "1=127.0.0.1:7001,2=127.0.0.1:7002",
            "tls_cert": files["--tls-cert"],
            "tls_key": files["--tls-key"],
            "tls_ca": files["--tls-ca"],
            **flags,
        },
        {},
    )


def tls(arguments: list[str], node_id: int = 1, told: Told | None = None, **flags: str) -> Tls:
    return Tls(
        settings(arguments, node_id, **flags), Log(told or Told()), lambda: int(time.time() * 1000)
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds; raise TimeoutError after a while."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nothing is there that could be waited for
            await asyncio.sleep(0.005)


class Members:
    """The daemon behind the accepting side."""

    def __init__(self, node_id: int) -> None:
        self.frames: list[PeerFrame] = []
        self.hellos: list[Hello] = []
        self._mine = Expectations(node_id=node_id, cluster_id=CLUSTER_ID, incarnation=node_id)

    def mine(self) -> Expectations:
        return self._mine

    def session(self, hello: Hello, connection: Connection) -> Session:
        self.hellos.append(hello)
        return self

    def frame(self, frame: PeerFrame) -> bool:
        self.frames.append(frame)
        return True

    def digest(self) -> None:
        pass

    def lost(self) -> None:
        pass


class Listening:
    """An accepting side for the length of a test."""

    def __init__(self, security: Security, node_id: int = 1) -> None:
        self.members = Members(node_id)
        self.told = Told()
        self.inbound = Inbound(self.members, Log(self.told), security)

    async def __aenter__(self) -> Listening:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        await self.inbound.listen(self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.inbound.close()

    async def dial(self, security: Security, node_id: int = 2, to: int = 1) -> None:
        mine = Expectations(node_id=node_id, cluster_id=CLUSTER_ID, incarnation=node_id)
        dialer, _ = await dial(self.address, mine, Hello.RAFT, to, security=security)
        dialer.abort()

    async def refused(self, reason: str) -> str:
        """Wait until a connection was refused for a reason; return the words."""
        await until(lambda: self.inbound.refused[reason] > 0)
        return str(self.told.lines[-1][1]["detail"])


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Both loops: each has TLS of its own."""
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as made:
        yield made


def test_two_nodes_of_a_cluster_meet(runner: asyncio.Runner, authority: Authority) -> None:
    one = tls(authority.issue("raftd://blue/1", file="1"))
    two = tls(authority.issue("raftd://blue/2", file="2"), 2)

    async def meet() -> str:
        async with Listening(one) as listening:
            mine = Expectations(node_id=2, cluster_id=CLUSTER_ID, incarnation=2)
            dialer, reply = await dial(listening.address, mine, Hello.RAFT, 1, security=two)
            assert reply.node_id == 1
            assert dialer.transport is not None
            version = dialer.transport.get_extra_info("ssl_object").version()
            frame = PeerFrame()
            frame.announce.id = 9
            encoded = frame.SerializeToString()
            # In one piece with more than a read's worth of bytes.
            dialer.transport.write((len(encoded).to_bytes(4, "big") + encoded) * 100_000)
            await until(lambda: len(listening.members.frames) == 100_000)
            dialer.abort()
            return str(version)

    assert runner.run(meet()) == "TLSv1.3"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another authority", "TLS: "),
        ("no certificate", "TLS: "),
        ("plaintext", "TLS: "),
        ("another cluster", "of another cluster than ours (blue)"),
        ("our own certificate", "it must be ours alone"),
        ("no name", "this names 0"),
        ("two names", "this names 2"),
        ("TLS 1.2", "TLS: "),
    ],
)
def test_who_is_not_let_in(
    runner: asyncio.Runner, authority: Authority, tmp_path: Path, case: str, words: str
) -> None:
    """Each is refused before a byte of the hello is read."""
    one = tls(authority.issue("raftd://blue/1", file="1"))
    good = authority.issue("raftd://blue/2", file="2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    arguments = {
        "another authority": lambda: Authority(tmp_path, "other").issue("raftd://blue/2", file="3"),
        "another cluster": lambda: authority.issue("raftd://green/2", file="3"),
        "our own certificate": lambda: authority.issue("raftd://blue/1", file="3"),
        "no name": lambda: authority.issue("https://blue/2", file="3"),
        "two names": lambda: authority.issue("raftd://blue/2", "raftd://blue/3", file="3"),
        "TLS 1.2": lambda: good,
    }.get(case, list)()
    if arguments:
        context.load_cert_chain(arguments[1], arguments[3])
    if case == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    attacker = Security()
    attacker.client = None if case == "plaintext" else context

    async def attack() -> str:
        async with Listening(one) as listening:
            with pytest.raises((OSError, RemoteError)):
                await listening.dial(attacker)
            said = await listening.refused("tls")
            assert not listening.members.hellos
            # The next honest one is served.
            await listening.dial(tls(good, 2))
            assert [hello.node_id for hello in listening.members.hellos] == [2]
            return said

    assert words in runner.run(attack())


def test_a_hello_must_say_what_the_certificate_says(
    runner: asyncio.Runner, authority: Authority
) -> None:
    one = tls(authority.issue("raftd://blue/1", file="1"))
    two = tls(authority.issue("raftd://blue/2", file="2"), 2)

    async def lie() -> None:
        async with Listening(one) as listening:
            with pytest.raises(HelloRefused) as refused:
                await listening.dial(two, node_id=3)
            assert refused.value.code == Code.CERTIFICATE_MISMATCH
            assert "node 3's, the certificate raftd://blue/2" in refused.value.message
            assert "raftctl tls issue" in refused.value.hint
            assert listening.inbound.refused["certificate_mismatch"] == 1

    runner.run(lie())


def test_the_dialer_checks_too(runner: asyncio.Runner, authority: Authority) -> None:
    """Whoever answers at a node's address must prove to be that node, before it hears a hello."""
    two = tls(authority.issue("raftd://blue/2", file="2"), 2)
    three = tls(authority.issue("raftd://blue/3", file="3"), 3, peers="3=127.0.0.1:1")
    green = tls(authority.issue("raftd://green/1", file="4"))

    async def impostor() -> None:
        async with Listening(three, node_id=1) as listening:
            with pytest.raises(HelloRefused) as refused:
                await listening.dial(two, to=1)
            assert "raftd://blue/3, not for node 1" in refused.value.message
            # A JOIN means any node; then the answer must say what the certificate says.
            mine = Expectations(node_id=2, cluster_id=b"", incarnation=2)
            with pytest.raises(HelloRefused, match="node 1 shows raftd://blue/3"):
                await dial(listening.address, mine, Hello.JOIN, 0, security=two)
            assert [hello.kind for hello in listening.members.hellos] == [Hello.JOIN]
        async with Listening(green) as listening:
            with pytest.raises(HelloRefused, match="of another cluster"):
                await listening.dial(two)
        async with Listening(PLAINTEXT) as listening:
            with pytest.raises((OSError, RemoteError)):
                await listening.dial(two)
            assert "it speaks TLS, this node does not" in await listening.refused("other_protocol")

    runner.run(impostor())


def test_whoever_does_not_shake_hands_is_a_stranger_from_the_first_moment(
    runner: asyncio.Runner, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftd.transport.inbound.HANDSHAKE_SECONDS", 0.3)
    monkeypatch.setattr("raftd.transport.inbound.UNAUTHENTICATED_CONNECTIONS_MAX", 4)
    one = tls(authority.issue("raftd://blue/1", file="1"))

    async def loiter() -> None:
        async with Listening(one) as listening:
            host, port = listening.address.split(":")
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(6)]
            # The first two have made way; the others are given up in time.
            await until(lambda: listening.inbound.refused["strangers"] == 2)
            await until(lambda: listening.inbound.refused["tls"] == 4)
            assert any("not finished in time" in str(line) for line in listening.told.lines)
            for reader, writer in idle:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
            await listening.dial(tls(authority.issue("raftd://blue/2", file="2"), 2))

    runner.run(loiter())


# --- reloading --------------------------------------------------------------------------------


def test_another_authority_is_taken_over_and_the_old_one_is_gone(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    told = Told()
    arguments = old.issue("raftd://blue/1", file="1")
    one = tls(arguments, told=told)
    hung_up: list[None] = []
    one.on_new_authorities.append(lambda: hung_up.append(None))
    two_old = tls(old.issue("raftd://blue/2", file="2old"), 2)
    two_new = tls(new.issue("raftd://blue/2", file="2new"), 2)
    # It trusts who signed for node 1, too, so that the change is of one side only.
    both = tmp_path / "both.crt"
    both.write_bytes(old.file.read_bytes() + new.file.read_bytes())
    two_new = tls([*new.issue("raftd://blue/2", file="2new")[:4], "--tls-ca", str(both)], 2)

    async def rotate() -> None:
        async with Listening(one) as listening:
            await listening.dial(two_old)
            with pytest.raises((OSError, RemoteError)):
                await listening.dial(two_new)
            # First a new certificate by the old authority: nobody has to begin anew.
            old.issue("raftd://blue/1", file="1")
            one.reload()
            assert not hung_up
            await listening.dial(two_old)
            new.issue("raftd://blue/1", file="1")
            shutil.copy(new.file, arguments[5])
            one.reload()
            assert len(hung_up) == 1
            await listening.dial(two_new)
            with pytest.raises((OSError, RemoteError)):
                await listening.dial(two_old)

    runner.run(rotate())
    assert [event for event, _ in told.lines] == ["certificates loaded"] * 3


def test_changed_files_are_noticed_and_bad_ones_change_nothing(authority: Authority) -> None:
    told = Told()
    one = tls(authority.issue("raftd://blue/1", file="1"), told=told, tls_reload="10s")
    first = one.material
    one.look(11.0)
    assert one.material is first
    authority.issue("raftd://blue/1", file="1")
    one.look(15.0)
    assert one.material is first, "it is not looked at all the time"
    one.look(22.0)
    assert one.material.server is not first.server
    good = one.material
    authority.issue("raftd://blue/7", file="1")
    one.look(33.0)
    assert one.material.server is good.server
    assert "certificate of node 7" in one.error
    one.look(44.0)
    assert [event for event, _ in told.lines].count("certificates not loaded") == 1, "said once"
    authority.issue("raftd://blue/1", file="1")
    one.look(55.0)
    assert one.error == ""
    assert one.material.server is not good.server


def test_an_end_in_sight_is_told_once_a_day(authority: Authority) -> None:
    told = Told()
    one = tls(authority.issue("raftd://blue/1", file="1", days=9), told=told)
    for now in (1.0, 2.0, 3600.0, 90_000.0):
        one.look(now)
    warnings = [values for event, values in told.lines if event == "certificate expires soon"]
    assert [values["days"] for values in warnings] == [8, 8]
    assert warnings[0]["which"] == "own"
    assert "raftctl tls issue" in warnings[0]["advice"]


# --- what a start refuses ---------------------------------------------------------------------


def refusal(arguments: list[str], **flags: Any) -> str:
    with pytest.raises(SecurityError) as refused:
        tls(arguments, **flags)
    return str(refused.value)


def test_files_that_do_not_do(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("raftd://blue/1", file="1")
    files = dict(zip(good[::2], good[1::2], strict=True))

    def but(**changed: str) -> list[str]:
        merged = {**files, **{f"--{name.replace('_', '-')}": v for name, v in changed.items()}}
        return [word for pair in merged.items() for word in pair]

    other = authority.issue("raftd://blue/2", file="2")
    stranger = Authority(tmp_path, "stranger").issue("raftd://blue/1", file="3")
    assert "certificate of node 2, this is node 1" in refusal(other)
    assert "raftctl tls issue 1" in refusal(other)
    assert "key values mismatch" in refusal(but(tls_key=other[3]))
    assert "No such file" in refusal(but(tls_cert="/nowhere"))
    assert "cannot read the key" in refusal(but(tls_key="/nowhere"))
    assert "authorities" in refusal(but(tls_ca="/nowhere"))
    assert "signed by one of --tls-ca" in refusal(but(tls_cert=stranger[1], tls_key=stranger[3]))
    assert "holds no certificate of an authority" in refusal(but(tls_ca=good[1]))
    assert "expired" in refusal(authority.issue("raftd://blue/1", file="4", days=-1))
    assert "this names 0" in refusal(authority.issue(file="5"))
    assert "not of the form" in refusal(authority.issue("raftd://blue/0", file="6"))
    assert "not of the form" in refusal(authority.issue(f"raftd://blue/{2**53}", file="7"))
    assert "for cluster 'blue', --cluster-token says 'red'" in refusal(good, cluster_token="red")
    tls(good, cluster_token="blue")
    for use in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH):
        words = refusal(authority.issue("raftd://blue/1", file="8", use=[use]))
        assert "both server and client use" in words
    os.chmod(good[3], 0o644)
    assert "everybody may read the key" in refusal(good)


def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(
    authority: Authority, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    arguments = authority.issue("raftd://blue/1", file="1")
    path = Path(arguments[3])
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "a daemon needs one without" in refusal(arguments)


def test_names(authority: Authority) -> None:
    def names(*uris: str) -> dict[str, Any]:
        return {"subjectAltName": tuple(("URI", uri) for uri in uris)}

    assert name_in(names("raftd://a.b-c_D/12")) == ("a.b-c_D", 12)
    assert str(name_in(names("https://x", "raftd://a/1"))) == "raftd://a/1"
    for bad in (
        "raftd://a/",
        "raftd:///1",
        "raftd://a/1/2",
        "raftd://a/01",
        "raftd://a b/1",
        "raftd:a/1",
    ):
        with pytest.raises(SecurityError):
            name_in(names(bad))
    with pytest.raises(SecurityError):
        name_in(None)
    assert PLAINTEXT.check(cast(Any, None), 1) is None
