"""The types of arguments, and where global options may stand and which one wins."""

from __future__ import annotations

import click
import pytest

from raftctl.cli import cli
from raftctl.options import ADDRESS, ADDRESSES, DURATION, NODE_ID, NODE_IDS, Settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("1.5", 1.5), ("0", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5x", "-1s", "ms", "5 minutes", "1e99h", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(("text", "ids"), [("1,2,3", (1, 2, 3)), ("7", (7,)), ("", ()), ("-", ())])
def test_lists_of_ids(text: str, ids: tuple[int, ...]) -> None:
    assert NODE_IDS.convert(text, None, None) == ids


@pytest.mark.parametrize("text", ["0", "-1", "a", "1,1", "1,,2", "9007199254740992", "\u0661"])
def test_what_is_no_list_of_ids(text: str) -> None:
    with pytest.raises(click.BadParameter):
        NODE_IDS.convert(text, None, None)


@pytest.mark.parametrize("text", ["", "0", "x", "1,2"])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(click.BadParameter):
        NODE_ID.convert(text, None, None)


def test_addresses() -> None:
    found = ADDRESSES.convert("4=10.0.0.4:7001,5=[fd00::5]:7001", None, None)
    assert found == {4: "10.0.0.4:7001", 5: "[fd00::5]:7001"}


@pytest.mark.parametrize("text", ["h", ":1", "h:", "h:0", "h:65536", "fd00::5:1", "a b:1", "h:x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ADDRESS.convert(text, None, None)
    with pytest.raises(click.BadParameter):
        ADDRESSES.convert(f"1={text}", None, None)


def test_an_id_has_one_address() -> None:
    with pytest.raises(click.BadParameter):
        ADDRESSES.convert("1=h:1,1=h:2", None, None)


def parsed(*args: str, **environment: str) -> Settings:
    """Return the settings that a line leaves, without running its command."""
    settings = Settings()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ctx = cli.make_context("raftctl", list(args), obj=settings)
        with ctx:
            _, command, rest = cli.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
            assert command is not None
            command.make_context("command", rest, parent=ctx)
    return settings


def test_global_options_stand_on_either_side() -> None:
    before = parsed("-s", "/a", "--json", "--timeout", "2s", "status")
    after = parsed("status", "-s", "/a", "--json", "--timeout", "2s")
    assert before.sockets == after.sockets == ("/a",)
    assert before.output == after.output == "json"
    assert before.timeout == after.timeout == 2.0


def test_the_last_one_wins() -> None:
    assert parsed("--json", "status", "-o", "plain").output == "plain"
    assert parsed("-s", "/a", "status", "-s", "/b", "-s", "/c").sockets == ("/b", "/c")


def test_a_flag_wins_over_the_environment() -> None:
    assert parsed("status", RAFTCTL_OUTPUT="json").output == "json"
    assert parsed("-o", "plain", "status", RAFTCTL_OUTPUT="json").output == "plain"
    assert parsed("status", "-o", "plain", RAFTCTL_OUTPUT="json").output == "plain"
    assert parsed("status", RAFTCTL_SOCKET="/env").sockets == ("/env",)
    assert parsed("-s", "/flag", "status", RAFTCTL_SOCKET="/env").sockets == ("/flag",)
    assert parsed("status", RAFTCTL_TIMEOUT="1m").timeout == 60.0


def test_socket_and_id_are_not_both_given() -> None:
    with pytest.raises(click.UsageError):
        parsed("-s", "/a", "status", "--id", "2")


def test_id_as_a_flag_wins_over_a_socket_in_the_environment() -> None:
    settings = parsed("status", "--id", "2", RAFTCTL_SOCKET="/env")
    assert (settings.sockets, settings.id) == ((), 2)
    settings = parsed("--id", "2", "status", RAFTCTL_SOCKET="/env")
    assert (settings.sockets, settings.id) == ((), 2)
