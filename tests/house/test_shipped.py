"""Manual pages and completions: fresh, complete, and without a word from mandoc."""

from __future__ import annotations

import re
import shlex
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
from raftctl.options import Settings
from raftd.cli import main as raftd_command
from raftd.config import OPTIONS
from raftd.events import NAMES
from raftwire import limits
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


def test_every_metric_event_and_limit_is_in_the_manual() -> None:
    daemon = plain("man/raftd.8")
    metrics = shipped.metric_names()
    assert {"raftd_has_leader", "raftd_proposals_total", "raftd_tls_not_after_seconds"} <= set(
        metrics
    )
    for name in metrics:
        assert f".It Li {name}\n" in daemon
    for name in NAMES:
        assert f".It Qo {name} Qc " in daemon
    constants = {name for name in vars(limits) if name.isupper()} - {"KIB", "MIB"}
    assert set(shipped.limit_names()) == constants, "a limit has a comment that begins with #:"
    assert daemon.count("\n.It", daemon.index(".Sh LIMITS"), daemon.index(".Sh MONITORING")) == len(
        constants - shipped.SETTINGS
    )


def examples() -> Iterator[tuple[str, list[str]]]:
    """Return every raftctl and raftd command line that README and manual show."""
    readme = (shipped.ROOT / "README.md").read_text()
    blocks = [("README.md", b) for b in re.findall(r"```(?:sh|console)\n(.*?)```", readme, re.S)]
    for page in PAGES:
        text = MADE[page].replace("\\-", "-").replace("\\e\n", "\\\n")
        blocks += [
            (page, b) for b in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.S | re.M)
        ]
    for place, block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:[$#] )?(raftctl|raftd) (?=[a-z-])(.*)", line)
            if found:
                shown = re.split(r"\s+(?:#|\|\|?|&&|&|>)(?:\s|$)", found[0].lstrip(" $#"))[0]
                yield place, shlex.split(shown)


@pytest.mark.parametrize(
    ("place", "words"), [pytest.param(p, w, id=f"{p}:{' '.join(w)}") for p, w in examples()]
)
def test_examples_are_written_as_the_commands_read_them(place: str, words: list[str]) -> None:
    """Nothing is run: the line is parsed, down to the last option of the last command."""
    command: click.Command = cli if words[0] == "raftctl" else raftd_command
    context = click.Context(command, info_name=words[0], resilient_parsing=True, obj=Settings())
    rest = words[1:]
    while True:
        parser = command.make_parser(context)
        if isinstance(command, Group):
            parser.allow_interspersed_args = False
        _, rest, _ = parser.parse_args(rest)
        if not isinstance(command, Group):
            break
        assert rest, f"{place}: {words} ends in a group"
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{place}: there is no command {name}"
        context = click.Context(found, info_name=name, parent=context, resilient_parsing=True)
        command = found


def test_there_are_examples() -> None:
    assert len(list(examples())) > 60
