"""The ``raftd`` command: its options come from the table in options.py."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from raftd import __version__
from raftd.config import ConfigError, DaemonConfig, load
from raftd.options import BY_KEY, OPTIONS, Option

EXIT_USAGE = 2


def _click_option(option: Option) -> click.Option:
    text = f"{option.help}  [{option.env_name}; {option.key}]"
    flag = f"--{option.flag_name}"
    if option.switch:
        return click.Option(
            [f"{flag}/--no-{option.flag_name}", option.name], default=None, help=text
        )
    return click.Option(
        [flag, option.name],
        metavar=option.metavar,
        multiple=option.repeatable,
        default=None,
        help=text,
    )


def _run(
    *,
    config_file: str | None,
    check_config: bool,
    print_config: bool,
    origin: bool,
    as_json: bool,
    sample_config: bool,
    **given: Any,
) -> None:
    if sample_config:
        click.echo(sample())
        return
    flags = {name: value for name, value in given.items() if value is not None and value != ()}
    try:
        settings = load(flags, file=Path(config_file) if config_file else None)
        if check_config:
            _check_files(settings)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"raftd: {problem}", err=True)
        sys.exit(EXIT_USAGE)
    if print_config:
        click.echo(_as_json(settings, origin) if as_json else _as_toml(settings, origin))
        return
    if check_config:
        click.echo(f"the configuration of node {settings.node_id} is valid")
        return
    # Imported late: --help and --check-config need neither RocksDB nor an event loop.
    from raftd.app import run

    sys.exit(run(settings))


def _check_files(config: DaemonConfig) -> None:
    """Check what only shows when the files that are named are read.

    Raises:
        ConfigError: TLS files that cannot be used, a log file's or the data's folder that is not
        there, a group that does not exist.
    """
    from raftd.checks import check_environment

    problems = check_environment(config)
    if problems:
        raise ConfigError(*problems)


# --- showing ----------------------------------------------------------------------------------


def _as_toml(config: DaemonConfig, origin: bool) -> str:
    """Return the settings as a TOML file that would give them."""
    lines: list[str] = []
    for section, content in config.shown().items():
        lines += ["", f"[{section}]"]
        for key, value in content.items():
            where = config.origins[BY_KEY[f"{section}.{key}"].name]
            if value is None:
                lines += [f"# {key} is not set"] if origin else []
                continue
            line = f"{key} = {_toml(value)}"
            lines.append(f"{line}  # {where}" if origin else line)
    return "\n".join(lines).strip()


def _as_json(config: DaemonConfig, origin: bool) -> str:
    """Return the settings as one JSON object; with their origins, each is an object itself."""
    document: dict[str, dict[str, Any]] = {}
    for section, content in config.shown().items():
        document[section] = {}
        for key, value in content.items():
            option = BY_KEY[f"{section}.{key}"]
            document[section][key] = (
                {
                    "value": value,
                    "default": option.shown(option.default),
                    "origin": config.origins[option.name],
                    "reloadable": option.reload,
                }
                if origin
                else value
            )
    return json.dumps(document, indent=2)


def sample() -> str:
    """Return a file with every key, explained and commented out, at its default."""
    lines = [
        "# Settings of raftd, in TOML. Every key is here, at its default; take away the # to set",
        "# it. A flag wins over the environment, the environment over this file.",
        "# Durations are written as 100ms, 5s, 2m; sizes as 64MiB. See raftd.toml(5).",
    ]
    section = ""
    for option in OPTIONS:
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        key = option.key.partition(".")[2]
        again = " Read again on SIGHUP." if option.reload else ""
        lines.append("")
        lines += textwrap.wrap(
            f"{option.help}{again}", 92, initial_indent="# ", subsequent_indent="# "
        )
        value = option.shown(option.default)
        lines.append(
            f"#{key} = {_EXAMPLES[option.key] if value in (None, {}, []) else _toml(value)}"
        )
    return "\n".join(lines)


_EXAMPLES = {
    "node.id": "1",
    "node.data_dir": '"/var/lib/raftd/1"',
    "cluster.peers": '{ "1" = "10.0.0.1:7001", "2" = "10.0.0.2:7001", "3" = "10.0.0.3:7001" }',
    "cluster.join": '["10.0.0.1:7001"]',
    "listen.peer": '"0.0.0.0:7001"',
    "listen.advertise": '"10.0.0.1:7001"',
    "tls.cert": '"/etc/raftd/node-1.crt"',
    "tls.key": '"/etc/raftd/node-1.key"',
    "tls.ca": '"/etc/raftd/ca.crt"',
    "tls.crl": '"/etc/raftd/ca.crl"',
    "admin.socket": '"/run/raftd/1.sock"',
    "admin.group": '"raftd"',
    "admin.readonly_group": '"monitoring"',
    "http.listen": '"127.0.0.1:7080"',
    "log.file": '"/var/log/raftd/1.log"',
}
"""What to write for keys that have no default."""


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's texts, numbers and booleans are written as TOML writes them; only DEL it escapes not.
    return json.dumps(value).replace("\x7f", "\\u007f")


# --- the command ------------------------------------------------------------------------------


main = click.Command(
    "raftd",
    callback=_run,
    params=[
        *map(_click_option, OPTIONS),
        click.Option(
            ["--config", "config_file"],
            metavar="FILE",
            help="Settings in TOML; flags and environment win over it.  [RAFTD_CONFIG]",
        ),
        click.Option(
            ["--check-config"],
            is_flag=True,
            help="Check the settings, and the files they name, and exit: 0 fine, 2 not.",
        ),
        click.Option(["--print-config"], is_flag=True, help="Print the settings and exit."),
        click.Option(
            ["--origin"],
            is_flag=True,
            help="With --print-config: say of each where it comes from.",
        ),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="With --print-config: as one JSON object."
        ),
        click.Option(
            ["--sample-config"],
            is_flag=True,
            help="Print a file with every key, explained, and exit.",
        ),
    ],
    help=(
        "Run one Raft node: a replicated log (or key-value store) on RocksDB, "
        "spoken to with raftctl.\n\n"
        "Exit status: 0 stopped as asked, 1 failed, 2 bad settings, 4 not this node's data, "
        "9 corrupt data, 70 a bug was caught, 75 the data directory is in use."
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
main = click.version_option(__version__, prog_name="raftd")(main)
