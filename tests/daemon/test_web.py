"""What a node serves over HTTP: metrics, probes, the live page in a browser if there is one."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raftd.pages import load_page
from raftwire.limits import KIB
from tests.harness.processes import Cluster, free_port, wait_for
from tests.house.shipped import metric_names
from tests.house.tree import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


class Web:
    """One node's HTTP port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def status(self, path: str) -> int:
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Return every sample: (name, label values in order) to value."""
        status, body, _ = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65536):
                    answer += piece
            return answer


class Watched(Cluster):
    """Nodes that serve HTTP."""

    def __init__(self, size: int, *options: str) -> None:
        super().__init__(size, *options)
        self.web: dict[int, Web] = {}
        for node in self.nodes.values():
            port = free_port([*self._ports, *(web.port for web in self.web.values())])
            self.web[node.id] = Web(port)
            node.arguments += ["--metrics-listen", f"127.0.0.1:{port}"]


@pytest.fixture(scope="module")
def running() -> Iterator[Watched]:
    with Watched(3) as made:
        made.start()
        with made.client() as client:
            for n in range(50):
                client.propose(b"%d" % n)
        yield made


@pytest.fixture
def group(running: Watched) -> Watched:
    running.start()
    return running


# --- metrics ----------------------------------------------------------------------------------


def test_metrics_of_leader_and_follower(group: Watched) -> None:
    leader = group.settle()
    follower = next(i for i in group.nodes if i != leader)
    with group[follower].client() as client:
        for n in range(20):
            client.propose(b"%d" % n)
        with contextlib.suppress(Exception):
            client.propose(b"x" * (2 << 20))
    index = group.catch_up()
    mine, theirs = group.web[leader].metrics(), group.web[follower].metrics()
    for found, leads in ((mine, 1), (theirs, 0)):
        assert found[("raftd_has_leader",)] == 1
        assert found[("raftd_is_leader",)] == leads
        assert found[("raftd_leader_id",)] == leader
        assert found[("raftd_term",)] >= 2
        assert found[("raftd_commit_index",)] == found[("raftd_applied_index",)] == index
        assert found[("raftd_members", "voter")] == 3
        assert found[("raftd_health", "healthy")] == 1
        assert found[("raftd_failure_tolerance",)] == 1
        assert found[("raftd_joint",)] == 0
        assert found[("raftd_window", "proposals")] == found[("raftd_proposals_pending_max",)]
        assert found[("raftd_window", "reads")] == found[("raftd_proposals_pending_max",)]
        assert found[("raftd_fsync_duration_seconds_count",)] > 10
        assert found[("raftd_apply_duration_seconds_bucket", "+Inf")] > 10
        assert found[("raftd_storage_bytes",)] > 0
        assert found[("raftd_storage_free_bytes",)] > 0
        assert found[("process_resident_memory_bytes",)] > 2**20
        other = follower if leads else leader
        assert found[("raftd_peer_reachable", str(other))] == 1
    assert mine[("raftd_role", "leader")] == theirs[("raftd_role", "follower")] == 1
    assert theirs[("raftd_proposals_total", "applied")] >= 20
    assert theirs[("raftd_propose_duration_seconds_count",)] >= 20
    assert theirs[("raftd_proposals_forwarded_total",)] >= 20
    # What only a leader knows.
    assert mine[("raftd_peer_lag_entries", str(follower))] == 0
    assert mine[("raftd_peer_match_index", str(follower))] == index
    assert mine[("raftd_peer_progress", str(follower), "replicate")] == 1
    assert ("raftd_peer_lag_entries", str(leader)) not in mine
    assert not [key for key in theirs if key[0] == "raftd_peer_lag_entries"]
    # The same over the admin socket.
    with group[leader].client() as client:
        assert "raftd_is_leader 1.0" in client.metrics()


def test_metrics_are_well_formed(group: Watched) -> None:
    status, body, headers = group.web[1].get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    text = body.decode()
    assert text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    # What the manual lists is what there is: read from the code there, from the wire here.
    listed = {name.removesuffix("_total") for name in metric_names()} | {"raftd_scrape_seconds"}
    assert {name for name in names if name.startswith("raftd_")} <= listed
    for family in families:
        assert family.documentation.endswith((".", "name.", "seconds.")) or "process" in family.name
        assert re.fullmatch(r"(raftd|process)_[a-z0-9_]+", family.name)


def test_refusals_are_counted(group: Watched) -> None:
    before = group.web[1].metrics().get(("raftd_refused_connections_total", "bad_frame"), 0)
    host, port = group[1].address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(b"\xff" * 64)
        assert sock.recv(10) == b""
    after = group.web[1].metrics()[("raftd_refused_connections_total", "bad_frame")]
    assert after == before + 1


def test_the_dashboard_shows_what_there_is(group: Watched) -> None:
    dashboard = json.loads((ROOT / "raftd/grafana/raftd.json").read_text())
    leader = group.settle()
    there = {key[0] for web in group.web.values() for key in web.metrics()}
    # Without TLS there is nothing to tell of certificates.
    there |= {"raftd_tls_not_after_seconds", "raftd_tls_ca_not_after_seconds"}
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            asked |= set(re.findall(r"\b(?:raftd|process)_[a-z_]+", target["expr"]))
    assert asked - there - {"raftd_refused_messages_total"} == set()
    assert len(asked) > 25
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert leader


# --- probes -----------------------------------------------------------------------------------


def test_live_is_local_and_ready_is_not(group: Watched) -> None:
    for web in group.web.values():
        assert (web.status("/livez"), web.status("/readyz")) == (200, 200)
    group[2].kill()
    group[3].kill()
    web = group.web[1]
    # Alone it is alive: to restart it would help nobody. It is not ready, and says why.
    wait_for("node 1 to be unready", lambda: web.status("/readyz") == 503)
    assert web.status("/livez") == 200
    assert b"no quorum: 1 of 3 voters reachable" in web.get("/readyz")[1]
    assert web.get("/status.json")[0] == 200
    group.start()
    wait_for("node 1 to be ready", lambda: web.status("/readyz") == 200)


def test_a_node_that_stops_is_not_ready_while_it_stops() -> None:
    with Watched(3, "--shutdown-timeout", "20s") as group:
        group.start()
        leader = group.settle()
        # The others stand still: handing over takes as long as it may.
        others = [node for node in group.nodes.values() if node.id != leader]
        for node in others:
            node.signal(signal.SIGSTOP)
        group[leader].signal(signal.SIGTERM)
        web = group.web[leader]
        wait_for("it to say so", lambda: web.status("/readyz") == 503)
        assert web.get("/readyz")[1] == b"stopping\n"
        for node in others:
            node.signal(signal.SIGCONT)
        assert group[leader].wait() == 0


# --- the server -------------------------------------------------------------------------------


def test_what_is_not_served(group: Watched) -> None:
    web = group.web[1]
    status, body, _ = web.get("/nothing")
    assert status == 404
    assert b"/livez, /metrics" in body
    status, _, headers = web.get("/metrics", "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert web.get("/livez", "HEAD")[:2] == (200, b"")
    assert web.get("/livez?probe=1")[0] == 200
    assert web.raw(b"hello\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert web.raw(b"GET / SPDY/3\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert web.raw(b"GET /" + b"x" * 9 * KIB).startswith(b"HTTP/1.1 431")
    assert web.raw(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000 + b"\r\n").startswith(b"HTTP/1.1 431")


def test_connections_are_few_and_short(group: Watched) -> None:
    web = group.web[1]
    idle = [socket.create_connection(("127.0.0.1", web.port), timeout=10) for _ in range(64)]
    wait_for("no more to be taken", lambda: web.status("/livez") == 503)
    # Whoever says nothing is cut off in time.
    for sock in idle:
        assert sock.recv(1) == b""
        sock.close()
    assert web.status("/livez") == 200


def test_it_is_off_unless_asked_for() -> None:
    with Cluster(1) as group:
        group.start()
        listening = Path(f"/proc/{group[1].pid}/net/tcp").read_text()
        inodes = {
            link.readlink().name
            for link in Path(f"/proc/{group[1].pid}/fd").iterdir()
            if link.is_symlink()
        }
        own = [
            line.split()[1]
            for line in listening.splitlines()[1:]
            if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in inodes
        ]
        assert len(own) == 1


def test_a_port_in_use_ends_the_start() -> None:
    with Watched(1) as group, socket.socket() as taken:
        taken.bind(("127.0.0.1", group.web[1].port))
        taken.listen()
        group[1].start()
        assert group[1].wait() == 1
        assert "cannot listen on --metrics-listen" in group[1].last_lines()


# --- the page ---------------------------------------------------------------------------------


def test_the_page_needs_no_other_host() -> None:
    page, policy = load_page()
    text = page.decode()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    found = set(re.findall(r"https?://[^\s\"')<]+", text))
    assert {url for url in found if not url.startswith("http://www.w3.org/2000/svg")} == set()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:|/)", text)
    # What is shown came from the network: it is text, never markup.
    assert "innerHTML" not in text
    assert "insertAdjacent" not in text
    assert "eval(" not in text
    assert not re.search(r"\son[a-z]+=", text)


def test_status_for_the_page(group: Watched) -> None:
    leader = group.settle()
    index = group.catch_up()
    shown: dict[str, Any] = {}

    def complete() -> bool:
        nonlocal shown
        shown = json.loads(group.web[2].get("/status.json")[1])
        return all(m.get("applied") == index for m in shown["members"])

    wait_for("all members to be shown", complete)
    assert shown["leader"] == leader
    assert [member["id"] for member in shown["members"]] == [1, 2, 3]
    assert [member["id"] for member in shown["members"] if member["leader"]] == [leader]
    assert [member["id"] for member in shown["members"] if member["self"]] == [2]
    assert shown["health"]["state"] == "healthy"
    assert shown["config"]["voters"] == [1, 2, 3]
    assert {"name", "kind", "level", "text", "time_ms", "sequence"} == set(shown["events"][0])
    for member in shown["members"]:
        if not member["leader"]:
            assert (member["progress"], member["lag"]) == ("replicate", 0)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chromium")


def browse(url: str, profile: Path, *options: str) -> str:
    """Open a page in a browser for some seconds; return what it then holds, as markup."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=5000",
            *options, url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"chromium does not run here: {done.stderr[-500:]}")
    # Nothing that the page does may offend its own policy, nor fail.
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    return done.stdout


def visible(markup: str) -> str:
    body = markup.split("<body", 1)[1].split("<script>", 1)[0]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_page_in_a_browser(group: Watched, profile: Path) -> None:
    leader = group.settle()
    markup = browse(f"http://127.0.0.1:{group.web[1].port}/", profile, "--dump-dom")
    assert 'data-ready="yes"' in markup
    text = visible(markup)
    assert "healthy" in text
    assert f"node {leader}" in text
    assert "node 1 (this)" in text
    for node in group.nodes.values():
        assert node.address in text
    assert text.count("follower") >= 2
    assert "leadership" in text
    assert "1 failure" in text
    assert "does not answer" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_page_of_a_group_in_trouble(group: Watched, profile: Path) -> None:
    group[3].kill()
    wait_for(
        "the group to notice",
        lambda: json.loads(group.web[1].get("/status.json")[1])["health"]["state"] == "degraded",
    )
    text = visible(browse(f"http://127.0.0.1:{group.web[1].port}/", profile, "--dump-dom"))
    assert "degraded" in text
    assert "node 3 is not reachable" in text
    assert "0 failures" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_in_both_schemes(group: Watched, profile: Path, scheme: str) -> None:
    picture = profile / f"{scheme}.png"
    options = ["--blink-settings=preferredColorScheme=" + ("0" if scheme == "dark" else "1")]
    options += [f"--screenshot={picture}", "--window-size=1200,900", "--hide-scrollbars"]
    browse(f"http://127.0.0.1:{group.web[1].port}/", profile, *options)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_a_page_costs_the_group_little(group: Watched) -> None:
    """However many look, the others are asked about once a second."""
    started = time.monotonic()
    for _ in range(50):
        assert group.web[1].get("/status.json")[0] == 200
    assert time.monotonic() - started < 20
