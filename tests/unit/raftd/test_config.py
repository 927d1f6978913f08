"""Settings: where they come from, which wins, what is refused with which advice."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from raftd.cli import main, sample
from raftd.config import ConfigError, DaemonConfig, load
from raftd.options import BY_NAME, OPTIONS, Option
from raftd.values import parse_duration, parse_size, seconds_text, size_text

LOCAL = "1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003"


def settings(environ: dict[str, str] | None = None, **flags: Any) -> DaemonConfig:
    return load({"node_id": "1", "peers": LOCAL, **flags}, environ or {})


def refusal(environ: dict[str, str] | None = None, **flags: Any) -> str:
    with pytest.raises(ConfigError) as found:
        settings(environ, **flags)
    return str(found.value)


def raftd(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(args), env=env)


#: For each option a value that is not its default, as a flag or variable writes it.
OTHER: dict[str, str] = {
    "node_id": "2",
    "data_dir": "/tmp/elsewhere",
    "peers": "1=127.0.0.1:8001,2=127.0.0.1:8002",
    "join": "127.0.0.1:7009",
    "bootstrap": "never",
    "cluster_token": "blue",
    "state_machine": "kv",
    "listen": "127.0.0.1:7100",
    "advertise": "127.0.0.1:7101",
    "tls_cert": "/x/node.crt",
    "tls_key": "/x/node.key",
    "tls_ca": "/x/ca.crt",
    "tls_crl": "/x/ca.crl",
    "tls_reload": "5m",
    "admin_socket": "/tmp/a.sock",
    "admin_mode": "0660",
    "admin_group": "adm",
    "admin_readonly_group": "users",
    "metrics_listen": "127.0.0.1:7080",
    "heartbeat": "50ms",
    "election_timeout": "2s",
    "max_size_per_msg": "64KiB",
    "max_inflight_msgs": "7",
    "max_inflight_bytes": "8MiB",
    "max_uncommitted_size": "1MiB",
    "max_committed_size": "2MiB",
    "read_mode": "lease",
    "fsync": "unsafe-never",
    "quota": "2GiB",
    "min_free_disk": "1GiB",
    "compact_entries": "9",
    "compact_trailing": "99",
    "compact_trailing_bytes": "3MiB",
    "snapshot_entries": "77",
    "snapshot_bytes": "78MiB",
    "snapshot_keep": "3",
    "snapshot_rate": "10MiB",
    "max_entry_bytes": "2MiB",
    "max_pending": "12",
    "max_pending_bytes": "13MiB",
    "max_apply_lag": "14",
    "max_clients": "15",
    "dedup_entries": "16",
    "dedup_ttl": "2h",
    "history_entries": "17",
    "history_bytes": "18MiB",
    "history_age": "7m",
    "shutdown_timeout": "3s",
    "joint_warn_after": "90s",
    "log_level": "debug",
    "log_format": "json",
    "log_file": "/tmp/r.log",
    "slow_fsync": "250ms",
    "slow_apply": "1s",
    "loop": "asyncio",
}
NEEDS: dict[str, dict[str, str]] = {
    "node_id": {},
    "join": {"peers": "", "listen": "127.0.0.1:7001"},
    "tls_cert": {"tls_key": "k", "tls_ca": "a"},
    "tls_key": {"tls_cert": "c", "tls_ca": "a"},
    "tls_ca": {"tls_cert": "c", "tls_key": "k"},
    "tls_crl": {"tls_cert": "c", "tls_key": "k", "tls_ca": "a"},
    "admin_group": {"admin_mode": "0660"},
    "admin_readonly_group": {"admin_mode": "0666"},
}


def other(option: Option) -> str:
    if option.switch:
        return "false" if option.default else "true"
    return OTHER[option.name]


def written(option: Option, text: str) -> str:
    """Return a file that sets one option, as TOML."""
    section, _, key = option.key.partition(".")
    value = json.dumps(option.shown(option.parse(text)))
    if option.name == "peers":
        pairs = [f'{k} = "{v}"' for k, v in option.parse(text).items()]
        return f"[{option.key}]\n" + "\n".join(pairs)
    return f"[{section}]\n{key} = {value}"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_comes_from_flag_environment_or_file(option: Option, tmp_path: Path) -> None:
    base: dict[str, Any] = {"node_id": "1", "peers": LOCAL, **NEEDS.get(option.name, {})}
    base = {name: value for name, value in base.items() if value}
    base.pop(option.name, None)
    text = other(option)
    wanted = option.parse(text)
    assert wanted != option.default

    flag = load({**base, option.name: text}, {})
    assert getattr(flag, option.name) == wanted
    assert flag.origins[option.name] == "flag"

    env = load(base, {option.env_name: text})
    assert getattr(env, option.name) == wanted
    assert env.origins[option.name] == f"env {option.env_name}"

    file = tmp_path / "raftd.toml"
    file.write_text(written(option, text))
    from_file = load(base, {}, file)
    assert getattr(from_file, option.name) == wanted
    assert from_file.origins[option.name] == f"file {file}"


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "raftd.toml"
    file.write_text('[raft]\nheartbeat = "10ms"\nelection_timeout = "100ms"\n[log]\nlevel="error"')
    found = load(
        {"node_id": "1", "peers": LOCAL, "heartbeat": "30ms"},
        {"RAFTD_HEARTBEAT": "20ms", "RAFTD_ELECTION_TIMEOUT": "200ms", "RAFTD_CONFIG": str(file)},
    )
    assert (found.heartbeat, found.election_timeout, found.log_level) == (0.03, 0.2, "error")
    assert found.origins["heartbeat"] == "flag"
    assert found.origins["election_timeout"] == "env RAFTD_ELECTION_TIMEOUT"
    assert found.origins["log_level"] == f"file {file}"
    assert found.origins["loop"] == "default"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert settings({"RAFTD_HEARTBEAT": ""}).origins["heartbeat"] == "default"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RAFTD_HEARTBEET", "RAFTD_HEARTBEAT"),
        ("RAFTD_ELECTION_TIMEOUT_MS", "RAFTD_ELECTION_TIMEOUT"),
        ("RAFTD_DATADIR", "RAFTD_DATA_DIR"),
        ("RAFTD_LOGLEVEL", "RAFTD_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_one_meant(name: str, meant: str) -> None:
    assert f"unknown variable {name}: did you mean {meant}?" in refusal({name: "x"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[raft]\nheartbeet = 1", "raft.heartbeet: did you mean raft.heartbeat?"),
        # The right key in the wrong section, and the flag's name.
        ("[raft]\nfsync = 1", "raft.fsync: did you mean storage.fsync?"),
        ("[cluster]\ncluster-token = 'x'", "did you mean cluster.token?"),
        ("heartbeat = '1s'", "unknown key heartbeat: did you mean raft.heartbeat?"),
        ("[rafts]\nheartbeat = '1s'", "unknown section rafts: did you mean raft?"),
        ("[raft]\nwhatever-else = 1", "known are"),
        ("[raft", "is not valid TOML"),
        ("[raft]\nheartbeat = 100", "raft.heartbeat in"),
        ("[node]\nid = true", "not a node id"),
        ("[storage]\nquota_bytes = '3 parsecs'", "not a size"),
        ("[cluster.peers]\n1 = 7001", "the address is text"),
    ],
)
def test_a_file_that_cannot_be_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "raftd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as found:
        load({}, {}, file)
    assert words in str(found.value)
    assert str(file) in str(found.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    ran = raftd("--id", "0", "--heartbeat", "soon", env={"RAFTD_LOPP": "x"})
    assert ran.exit_code == 2
    assert len(ran.stderr.splitlines()) == 3
    assert all(line.startswith("raftd: ") for line in ran.stderr.splitlines())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"node_id": "4"}, "id 4 is not in --peers (1, 2, 3)"),
        ({"peers": "1=127.0.0.1:1,1=127.0.0.1:2"}, "id 1 is given twice"),
        ({"peers": "1=127.0.0.1:1,2=127.0.0.1:1"}, "given to both 1 and 2"),
        ({"join": "127.0.0.1:7002"}, "contradict each other"),
        ({"bootstrap": "join"}, "--bootstrap join needs --join"),
        ({"listen": "127.0.0.1:99999"}, "the port is a number from 1 to 65535"),
        ({"listen": "::1:7001"}, "stands in brackets"),
        ({"election_timeout": "150ms"}, "below twice the heartbeat"),
        ({"heartbeat": "1ms"}, "finer than the event loop's timers"),
        ({"max_entry_bytes": "5MiB"}, "a frame holds 8MiB"),
        ({"max_inflight_bytes": "1"}, "nothing could be sent"),
        ({"max_uncommitted_size": "1KiB"}, "no message could be filled"),
        ({"max_pending": "0"}, "at least 1"),
        ({"snapshot_rate": "1KiB"}, "never finish"),
        ({"admin_mode": "0066"}, "lets its owner read and write"),
        ({"admin_group": "adm"}, "--admin-mode 0660"),
        ({"admin_readonly_group": "adm", "admin_mode": "0660"}, "--admin-mode 0666"),
        ({"tls_cert": "x"}, "--tls-key and --tls-ca are missing"),
        ({"tls_cert": "x", "tls_key": "y"}, "--tls-ca is missing"),
        ({"tls_crl": "x"}, "means nothing without"),
        (
            {"tls_cert": "x", "tls_key": "y", "tls_ca": "z", "insecure_peers": "true"},
            "contradict each other",
        ),
        ({"admin_socket": "/tmp/" + "x" * 120}, "longer than"),
        ({"log_level": "chatty"}, "none of debug, info, warning, error"),
    ],
)
def test_a_contradiction_is_refused(flags: dict[str, Any], words: str) -> None:
    assert words in refusal(**flags)


@pytest.mark.parametrize("host", ["10.0.0.1", "node.example", "[2001:db8::1]", "0.0.0.0"])
def test_plaintext_leaves_the_loopback_only_on_purpose(host: str) -> None:
    peers = f"1={host}:7001"
    assert "--insecure-peers" in refusal(peers=peers)
    assert settings(peers=peers, insecure_peers=True).listen == f"{host}:7001"
    tls: dict[str, Any] = {"tls_cert": "a", "tls_key": "b", "tls_ca": "c"}
    assert settings(peers=peers, **tls).tls
    assert settings(peers="1=127.0.0.8:7001,2=[::1]:7002,3=localhost:7003").listen


def test_peers_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "peers"
    file.write_text("1=127.0.0.1:7001\n2=127.0.0.1:7002\n")
    assert settings(peers=f"@{file}").peers == {1: "127.0.0.1:7001", 2: "127.0.0.1:7002"}
    assert "cannot read the peers" in refusal(peers="@/nowhere")


# --- showing ----------------------------------------------------------------------------------


def test_the_sample_names_every_key_at_its_default() -> None:
    text = sample()
    assert tomllib.loads(text) == {option.section: {} for option in OPTIONS}
    set_ = "\n".join(line[1:] if line.startswith("#") and " = " in line and line[1] != " " else line
                     for line in text.splitlines())  # fmt: skip
    found = tomllib.loads(set_)
    for option in OPTIONS:
        value = found[option.section][option.key.partition(".")[2]]
        if option.default not in (None, {}, ()):
            assert option.parse(value) == option.default, option.key
        else:
            option.parse(value)
    assert raftd("--sample-config").stdout.strip() == text


def test_what_is_printed_gives_the_same_settings_again(tmp_path: Path) -> None:
    args = ["--id", "1", "--peers", LOCAL, "--heartbeat", "12.5ms", "--quota", "12345"]
    for more in ([], ["--origin"]):
        ran = raftd(*args, "--print-config", *more)
        assert ran.exit_code == 0
        file = tmp_path / "again.toml"
        file.write_text(ran.stdout)
        again, first = load({}, {}, file), load(
            {"node_id": "1", "peers": LOCAL, "heartbeat": "12.5ms", "quota": "12345"}, {}
        )  # fmt: skip
        assert again.shown() == first.shown()


def test_print_config_as_json_with_origins() -> None:
    ran = raftd(
        "--id", "1", "--peers", LOCAL, "--print-config", "--json", "--origin",
        env={"RAFTD_LOG_LEVEL": "debug"},
    )  # fmt: skip
    document = json.loads(ran.stdout)
    assert document["log"]["level"] == {
        "value": "debug", "default": "info", "origin": "env RAFTD_LOG_LEVEL", "reloadable": True,
    }  # fmt: skip
    assert document["node"]["id"]["origin"] == "flag"
    assert document["tls"]["cert"]["value"] is None
    plain = json.loads(raftd("--id", "1", "--peers", LOCAL, "--print-config", "--json").stdout)
    assert plain["raft"]["heartbeat"] == "100ms"
    assert {f"{s}.{k}" for s, keys in plain.items() for k in keys} == {o.key for o in OPTIONS}


def test_check_config_says_what_would_fail_later(tmp_path: Path) -> None:
    args = ["--id", "1", "--peers", LOCAL, "--check-config"]
    ran = raftd(*args, "--data-dir", str(tmp_path / "new" / "1"))
    assert (ran.exit_code, ran.stdout.strip()) == (0, "the configuration of node 1 is valid")
    (tmp_path / "file").write_text("")
    for more, words in [
        (["--data-dir", str(tmp_path / "file")], "is not a directory"),
        (["--data-dir", str(tmp_path / "gone"), "--bootstrap", "never"], "is its disk mounted?"),
        (["--log-file", str(tmp_path / "gone" / "log")], "is not a directory to write to"),
        (["--admin-group", "no-such-group", "--admin-mode", "0660"], "there is no group"),
    ]:
        ran = raftd(*args, *more)
        assert ran.exit_code == 2, more
        assert words in ran.stderr


# --- reloading --------------------------------------------------------------------------------


def test_a_reload_takes_what_may_change_and_names_the_rest() -> None:
    running = settings()
    found = settings(log_level="debug", max_pending="5", heartbeat="50ms", peers="1=127.0.0.1:8001")
    adopted = running.adopt(found)
    assert adopted.changed == ["limits.max_pending", "log.level"]
    assert adopted.needs_restart == [
        "cluster.peers", "listen.peer", "listen.advertise", "raft.heartbeat",
    ]  # fmt: skip
    assert (running.max_pending, running.log_level, running.heartbeat) == (5, "debug", 0.1)
    assert running.origins["max_pending"] == "flag"
    assert running.origins["heartbeat"] == "default"


def test_identity_is_never_reloaded() -> None:
    fixed = {"node_id", "data_dir", "peers", "cluster_token", "state_machine", "listen", "fsync"}
    assert not {option.name for option in OPTIONS if option.reload} & fixed
    assert BY_NAME["max_entry_bytes"].reload


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.0001, 1.5, 90.0, 3600.0, 0.0125, 61.0, 0.25])
def test_durations_are_shown_as_they_are_read(seconds: float) -> None:
    assert parse_duration(seconds_text(seconds)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("size", [0, 1, 1000, 1024, 2**20, 3 * 2**30, 2**20 + 1])
def test_sizes_are_shown_as_they_are_read(size: int) -> None:
    assert parse_size(size_text(size)) == size
