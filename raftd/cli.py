"""The ``raftd`` command: its options come from the table in config.py."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from raftd import __version__
from raftd.config import OPTIONS, ConfigError, DaemonConfig, Option, load

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
    config_file: str | None, check_config: bool, print_config: bool, origin: bool, **given: Any
) -> None:
    flags = {name: value for name, value in given.items() if value is not None and value != ()}
    try:
        settings = load(flags, file=Path(config_file) if config_file else None)
    except ConfigError as error:
        click.echo(f"raftd: {error}", err=True)
        sys.exit(EXIT_USAGE)
    if print_config:
        click.echo(_shown(settings, origin))
        return
    if check_config:
        click.echo(f"the configuration of node {settings.node_id} is valid")
        return
    # Imported late: --help and --check-config need neither RocksDB nor an event loop.
    from raftd.app import run

    sys.exit(run(settings))


def _shown(config: DaemonConfig, origin: bool) -> str:
    """Return the settings as a TOML file that would give them."""
    lines: list[str] = []
    names = {option.key: option.name for option in OPTIONS}
    for section, content in config.shown().items():
        lines += ["", f"[{section}]"]
        for key, value in content.items():
            if value is None:
                continue
            text = _toml(value)
            if origin:
                text += f"  # {config.origins[names[f'{section}.{key}']]}"
            lines.append(f"{key} = {text}")
    return "\n".join(lines).strip()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's texts, numbers and booleans are written as TOML writes them.
    return json.dumps(value)


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
        click.Option(["--check-config"], is_flag=True, help="Check the settings and exit."),
        click.Option(
            ["--print-config"], is_flag=True, help="Print the settings and exit."
        ),
        click.Option(
            ["--origin"], is_flag=True, help="With --print-config: say whence."
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
