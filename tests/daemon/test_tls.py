"""Three real nodes that speak TLS, with certificates as raftctl makes them."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftwire.frame import encode_frame
from raftwire.peer import Expectations, Hello, make_hello
from tests.cli.conftest import run_ctl
from tests.harness.processes import Cluster, wait_for


def make_certificates(folder: Path, *ids: int, cluster: str = "blue") -> None:
    if not (folder / "ca.crt").exists():
        assert run_ctl("tls", "init", "--cluster", cluster, "--dir", str(folder)).code == 0
    names = [str(node_id) for node_id in ids]
    assert run_ctl("tls", "issue", *names, "--dir", str(folder), "--renew").code == 0


def arguments(folder: Path, node_id: int) -> list[str]:
    return [
        "--tls-cert", str(folder / f"node-{node_id}.crt"),
        "--tls-key", str(folder / f"node-{node_id}.key"),
        "--tls-ca", str(folder / "ca.crt"),
    ]  # fmt: skip


@pytest.fixture
def group() -> Iterator[Cluster]:
    with Cluster(3, "--compact-entries", "10", "--compact-trailing", "20") as made:
        folder = made.folder / "tls"
        make_certificates(folder, 1, 2, 3)
        for node in made.nodes.values():
            node.arguments += arguments(folder, node.id)
        made.start()
        yield made


def test_a_group_works_over_tls_and_takes_in_a_node(group: Cluster) -> None:
    folder = group.folder / "tls"
    with group[1].client() as client:
        for n in range(100):
            client.propose(b"%d" % n)
        status = client.status()
    assert status.tls.name == "raftd://blue/1"
    assert status.tls.not_after_ms / 1000 > time.time() + 390 * 86400
    assert status.tls.ca_not_after_ms > status.tls.not_after_ms
    leader = group.settle()
    make_certificates(folder, 4)
    group.options += arguments(folder, 4)
    node = group.join(4, leader)
    with group[leader].client(20) as client:
        # What it needs is compacted away: the snapshot travels over TLS as well.
        client.member_add(4, node.address, wait=True)
        client.wait("member", member=4, role="voter")
    group.settle([1, 2, 3, 4])
    ran = run_ctl("-s", str(group[1].socket), "status")
    assert "TLS raftd://blue/1 · good for 396 days" in ran.out


def test_strangers_are_refused_and_counted_and_the_group_goes_on(group: Cluster) -> None:
    folder = group.folder / "tls"
    other = group.folder / "other"
    make_certificates(other, 1, 2, 3, cluster="blue")
    host, port = group[1].address.split(":")

    def attempt(context: ssl.SSLContext | None) -> bytes:
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            try:
                end = context.wrap_socket(sock) if context else sock
                mine = Expectations(node_id=3, cluster_id=bytes(16), incarnation=1)
                end.sendall(encode_frame(make_hello(mine, 1, Hello.RAFT).SerializeToString()))
                return end.recv(4096)
            except OSError:
                return b""

    def context(*certificate: Path) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if certificate:
            made.load_cert_chain(*map(str, certificate))
        return made

    def refused(reason: str) -> int:
        with group[1].client() as client:
            return client.status().counters.get(f"refused_connection_{reason}", 0)

    assert attempt(None) == b""
    assert attempt(context()) == b""
    assert attempt(context(other / "node-3.crt", other / "node-3.key")) == b""
    wait_for("three refusals", lambda: refused("tls") == 3)
    # With a good certificate of node 2 a hello of node 3 is answered with a refusal.
    answer = attempt(context(folder / "node-2.crt", folder / "node-2.key"))
    assert b"CERTIFICATE_MISMATCH" in answer or b"CLUSTER_MISMATCH" in answer
    with group[2].client() as client:
        client.propose(b"goes on")


def test_certificates_are_renewed_on_a_running_group(group: Cluster) -> None:
    folder = group.folder / "tls"
    with group[1].client() as client:
        before = client.status().tls
    make_certificates(folder, 1, 2, 3)
    for node in group.nodes.values():
        with node.client() as client:
            client.reload()
            assert client.status().tls.loaded_ms > before.loaded_ms
    # A new authority: first everybody trusts both, then everybody has a new certificate, then
    # the old authority goes. Connections begin anew, and the group works at every step.
    new = group.folder / "new"
    make_certificates(new, 1, 2, 3)
    old_ca = (folder / "ca.crt").read_bytes()
    steps: list[Callable[[], object]] = [
        lambda: (folder / "ca.crt").write_bytes(old_ca + (new / "ca.crt").read_bytes()),
        lambda: [shutil.copy(file, folder) for file in new.glob("node-*")],
        lambda: shutil.copy(new / "ca.crt", folder / "ca.crt"),
    ]
    for step in steps:
        step()
        for node in group.nodes.values():
            with node.client() as client:
                client.reload()
        for node in group.nodes.values():
            with node.client(20) as client:
                client.propose(b"goes on", key=f"step {node.id} {steps.index(step)}")
    for node in group.nodes.values():
        with node.client(20) as client:
            client.wait("healthy")


def test_wrong_files_end_the_start_with_2() -> None:
    with Cluster(1) as group:
        folder = group.folder / "tls"
        make_certificates(folder, 1, 2)
        group[1].start(*arguments(folder, 2))
        assert group[1].wait() == 2
        assert "certificate of node 2, this is node 1" in group[1].last_lines()
        (folder / "node-1.key").chmod(0o644)
        group[1].start(*arguments(folder, 1))
        assert group[1].wait() == 2
        assert "chmod 600" in group[1].last_lines()


def test_a_revoked_certificate_is_refused(group: Cluster) -> None:
    folder = group.folder / "tls"
    follower = group.follower()
    assert run_ctl("tls", "revoke", "--dir", str(folder)).code == 0
    for node in group.nodes.values():
        node.terminate()
        node.arguments += ["--tls-crl", str(folder / "ca.crl")]
    group.start()
    certificate = str(folder / f"node-{follower}.crt")
    assert run_ctl("tls", "revoke", certificate, "--dir", str(folder), "--yes").code == 0
    others = [node for node in group.nodes.values() if node.id != follower]
    for node in others:
        with node.client() as client:
            client.reload()

    def cut_off() -> bool:
        for node in others:
            status = node.status()
            if status is None:
                return False
            if any(peer.id == follower and peer.reachable for peer in status.peers):
                return False
        return True

    wait_for("the revoked node to be cut off", cut_off)
    with others[0].client(20) as client:
        client.propose(b"two of three")
