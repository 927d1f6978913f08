"""Manual pages and completions: fresh, complete, and without a word from mandoc."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from raftctl.cli import cli
from raftctl.errors import EXIT_MEANINGS
from raftctl.group import Group
from raftd.cli import main as raftd_command
from raftd.config import OPTIONS
from tests.house import shipped

MADE = shipped.files()
PAGES = sorted(path for path in MADE if path.startswith("man/"))


@pytest.mark.parametrize("path", sorted(MADE))
def test_files_are_fresh(path: str) -> None:
    on_disk = shipped.ROOT / path
    assert on_disk.exists(), "run: python -m tests.house.shipped"
    assert on_disk.read_text() == MADE[path], "run: python -m tests.house.shipped"


def test_every_page_has_a_source() -> None:
    on_disk = {f"man/{p.name}" for p in (shipped.ROOT / "man").iterdir() if p.is_file()}
    assert on_disk == set(PAGES)


def plain(path: str) -> str:
    """Return a page's source with the escapes taken out."""
    return MADE[path].replace("\\-", "-").replace("\\&", "").replace('"', "")


def leaves(
    group: Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(leaves(cli))


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_every_command_and_option_is_in_the_manual(path: tuple[str, ...]) -> None:
    page = f"man/raftctl-{path[0]}.1" if len(path) > 1 else "man/raftctl.1"
    text = plain(page)
    head = re.search(rf"^\.It Ic {re.escape(' '.join(path))}( |$)", text, re.MULTILINE)
    assert head, f"{page} does not describe it"
    body = text[head.end() :]
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option):
            for name in param.opts:
                assert f"Fl {name.removeprefix('-')} " in body.replace("\n", " \n")
            assert param.help, f"{name} has no help"


def test_every_command_has_help() -> None:
    for path, command in COMMANDS.items():
        assert command.help, path
        assert command.help.strip().splitlines()[0].endswith((".", ":", "(30s).")), path


def test_global_options_exit_codes_and_environment_are_in_the_manual() -> None:
    text = plain("man/raftctl.1")
    for param in cli.get_params(click.Context(cli)):
        for name in param.opts:
            if name not in ("-h", "--help"):
                assert f"Fl {name.removeprefix('-')}" in text
        if param.envvar:
            assert f".It Ev {param.envvar}" in text
    for code in EXIT_MEANINGS:
        assert f".It {int(code)}\n" in text


def test_every_option_key_and_variable_of_raftd_is_in_the_manual() -> None:
    daemon, file = plain("man/raftd.8"), plain("man/raftd.toml.5")
    for param in raftd_command.params:
        for name in [*param.opts, *param.secondary_opts]:
            if name not in ("-h", "--help"):
                assert f"Fl {name.removeprefix('-')}" in daemon
    for option in OPTIONS:
        assert f".It Ev {option.env_name}\n" in daemon
        section, _, key = option.key.partition(".")
        assert f".Ss Section {section}\n" in file
        assert f".It Cm {key}\n" in file


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("path", PAGES)
def test_mandoc_has_nothing_to_say(path: str) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", str(shipped.ROOT / path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Pages that are not installed here are looked for among ours.
    ours = {Path(page).name for page in PAGES}
    found = []
    for line in done.stdout.splitlines():
        named = re.search(r"referenced manual not found: Xr (\S+) (\d)", line)
        if not (named and f"{named[1]}.{named[2]}" in ours):
            found.append(line)
    assert found == []


def test_completion_scripts_name_their_program() -> None:
    for path, text in MADE.items():
        if path.startswith("completions/"):
            program = Path(path).stem
            assert f"_{program.upper()}_COMPLETE" in text


def test_the_wheel_installs_every_one_of_them() -> None:
    project = tomllib.loads((shipped.ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    shared = set(wheel["shared-data"])
    # What lies in a package and is for others than Python: the units of systemd, a dashboard.
    others = {path for path in shared if path.startswith("raftd/")}
    assert shared - others == set(MADE)
    assert all((shipped.ROOT / path).is_file() for path in others)
