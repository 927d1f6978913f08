"""raftctl tls: an authority, certificates, revocation; the files and what they say."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import run_ctl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ran = run_ctl("tls", "init", "--cluster", "blue", "--dir", str(tmp_path / "tls"))
    assert ran.code == 0, ran.err
    return tmp_path / "tls"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_two_commands_make_all_that_three_nodes_need(folder: Path) -> None:
    ran = run_ctl("tls", "issue", "1", "2", "3", "--dir", str(folder), "--json")
    assert ran.code == 0
    made = ran.data["certificates"]
    assert [one["name"] for one in made] == [f"raftd://blue/{n}" for n in (1, 2, 3)]
    assert {path.name for path in folder.iterdir()} == {
        "ca.crt", "ca.key", "node-1.crt", "node-1.key", "node-2.crt", "node-2.key",
        "node-3.crt", "node-3.key",
    }  # fmt: skip
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.glob("*.key")} == {0o600}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(str(folder / "ca.crt"))
    (authority,) = context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "raftd blue"),),)
    days = (made[0]["not_after_ms"] / 1000 - time.time()) / 86400
    assert 396 < days <= 397


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    where = ["--dir", str(folder)]
    ran = run_ctl("tls", "init", "--cluster", "red", *where)
    assert ran.code == 2
    assert "would not be trusted" in ran.err
    assert run_ctl("tls", "issue", "1", *where).code == 0
    first = (folder / "node-1.crt").read_bytes()
    ran = run_ctl("tls", "issue", "1", *where)
    assert ran.code == 2
    assert "--renew" in ran.err
    assert (folder / "node-1.crt").read_bytes() == first
    assert run_ctl("tls", "issue", "1", "--renew", *where).code == 0
    assert (folder / "node-1.crt").read_bytes() != first


def test_what_cannot_be_is_refused_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    ran = run_ctl("tls", "issue", "1", "--dir", str(tmp_path / "none"))
    assert ran.code == 2
    assert "raftctl tls init --cluster NAME" in ran.err
    for name in ("", "a/b", "x" * 65, "a b"):
        assert run_ctl("tls", "init", "--cluster", name, "--dir", str(tmp_path / "x")).code == 2
    assert run_ctl("tls", "issue", "0", "--dir", str(folder)).code == 2
    assert run_ctl("tls", "issue", "--dir", str(folder)).code == 2
    (folder / "ca.key").unlink()
    assert "cannot read" in run_ctl("tls", "issue", "1", "--dir", str(folder)).err
    assert run_ctl("tls", "show", str(folder / "ca.key")).code == 2
    (tmp_path / "garbage").write_text("x")
    assert "no certificate" in run_ctl("tls", "show", str(tmp_path / "garbage")).err


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    where = ["--dir", str(tmp_path)]
    run_ctl("tls", "init", "--cluster", "blue", "--days", "10", *where)
    made = run_ctl("tls", "issue", "1", "--days", "100", *where, "--json").data["certificates"][0]
    assert (made["not_after_ms"] / 1000 - time.time()) / 86400 <= 10


def test_show(folder: Path) -> None:
    run_ctl("tls", "issue", "7", "--dir", str(folder), "--host", "a.example", "--host", "::1")
    files = [str(folder / "ca.crt"), str(folder / "node-7.crt")]
    ran = run_ctl("tls", "show", *files)
    lines = ran.out.splitlines()
    assert lines[1].split()[1:3] == ["raftd://blue/", "authority"]
    assert lines[2].split()[1:3] == ["raftd://blue/7", "node"]
    rows = [
        json.loads(line) for line in run_ctl("tls", "show", *files, "-o", "ndjson").out.splitlines()
    ]
    assert rows[0]["node_id"] is None
    assert rows[0]["authority"] is True
    assert rows[1]["hosts"] == ["a.example", "::1"]
    openssl = ssl.PEM_cert_to_DER_cert((folder / "node-7.crt").read_text())
    assert len(bytes.fromhex(rows[1]["sha256"])) == 32
    assert openssl


def test_revoked_certificates_add_up(folder: Path) -> None:
    where = ["--dir", str(folder)]
    made = run_ctl("tls", "issue", "1", "2", *where, "--json").data["certificates"]
    first, second = made
    ran = run_ctl("tls", "revoke", first["path"], *where)
    assert ran.code == 2
    assert "--yes" in ran.err
    assert run_ctl("tls", "revoke", first["path"], *where, "--yes").code == 0
    data = run_ctl("tls", "revoke", second["path"], *where, "--yes", "--json").data
    assert sorted(data["serials"]) == sorted(one["serial"] for one in made)
    # Signed anew, nothing more: needs no confirmation.
    again = run_ctl("tls", "revoke", *where, "--json").data
    assert sorted(again["serials"]) == sorted(data["serials"])
    other = folder.parent / "other"
    run_ctl("tls", "init", "--cluster", "red", "--dir", str(other))
    ran = run_ctl("tls", "revoke", str(other / "ca.crt"), *where, "--yes")
    assert "was not issued by this authority" in ran.err


def test_other_commands_do_not_load_cryptography() -> None:
    code = (
        "import sys\nfrom raftctl.cli import run\n"
        "run(['tls', '--help'])\nrun(['tls', 'init', '-h'])\n"
        "print('cryptography' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "False"
