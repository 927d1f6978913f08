"""The global options, accepted before and after the subcommand, and the types of arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

ENV_PREFIX: Final = "RAFTCTL"
FORMATS: Final = ("table", "json", "ndjson", "plain")
ID_MAX: Final = 2**53 - 1
"""Largest id, index or term: what every language's JSON numbers hold exactly."""


@dataclass
class Settings:
    """What the global options say, whichever side of the subcommand they were on.

    Attributes:
        sockets: Admin sockets to try in order.
        id: Node whose socket in the run directory is meant; None: any.
        output: One of ``FORMATS``.
        timeout: Seconds; None: the command's own default.
        yes: Do not ask before what cannot be undone.
        quiet: Say nothing but the answer.
        verbose: Say more.
        color: ``auto``, ``always`` or ``never``.
        no_forward: Refuse instead of asking the leader.
    """

    sockets: tuple[str, ...] = ()
    id: int | None = None
    output: str = "table"
    timeout: float | None = None
    yes: bool = False
    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    no_forward: bool = False
    sources: dict[str, ParameterSource] = field(default_factory=dict)

    def deadline(self, default: float = 5.0) -> float:
        """Return the timeout in seconds, or the command's default."""
        return default if self.timeout is None else self.timeout


class Duration(click.ParamType[float]):
    """A time such as ``100ms``, ``5s``, ``2m``, ``1h``; a bare number means seconds."""

    name = "duration"
    _UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the time in seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip()
        digits = text.rstrip("hms")
        unit = text[len(digits) :] or "s"
        try:
            seconds = float(digits) * self._UNITS[unit]
        except (ValueError, KeyError):
            self.fail(f"{text!r} is not a duration; write 100ms, 5s, 2m or 1h", param, ctx)
        if not 0 <= seconds < 1e9:
            self.fail(f"{text!r} is out of range", param, ctx)
        return seconds


class NodeId(click.ParamType[int]):
    """A node's id, 1 to 2^53-1; completed from the live group."""

    name = "id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the id."""
        return parse_id(str(value), lambda message: self.fail(message, param, ctx))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the ids of the group's members."""
        from raftctl.completing import member_ids

        return member_ids(ctx, incomplete)


class NodeIds(click.ParamType["tuple[int, ...]"]):
    """A list of node ids such as ``1,2,3``; ``-`` or an empty string is the empty list."""

    name = "ids"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the ids in the order they were given, each once."""
        if isinstance(value, tuple):
            return value
        text = str(value).strip()
        if text in ("", "-", "none"):
            return ()
        ids = [
            parse_id(part.strip(), lambda message: self.fail(message, param, ctx))
            for part in text.split(",")
        ]
        for id_ in ids:
            if ids.count(id_) > 1:
                self.fail(f"id {id_} is in the list twice", param, ctx)
        return tuple(ids)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the list continued with each member that is not in it yet."""
        from raftctl.completing import member_id_lists

        return member_id_lists(ctx, incomplete)


class Addresses(click.ParamType["dict[int, str]"]):
    """Addresses of nodes, ``4=10.0.0.4:7001,5=[fd00::5]:7001``."""

    name = "id=host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[int, str]:
        """Return the addresses by id."""
        if isinstance(value, dict):
            return value
        out: dict[int, str] = {}
        for part in str(value).split(","):
            id_text, equals, address = part.strip().partition("=")
            if not equals:
                self.fail(f"{part.strip()!r} is not of the form ID=HOST:PORT", param, ctx)
            id_ = parse_id(id_text, lambda message: self.fail(message, param, ctx))
            if id_ in out:
                self.fail(f"id {id_} has two addresses", param, ctx)
            out[id_] = parse_address(address, lambda message: self.fail(message, param, ctx))
        return out


class Address(click.ParamType[str]):
    """Where a node listens for its peers, ``host:port`` or ``[fd00::5]:port``."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the address as given, once it is known to have a host and a port."""
        return parse_address(str(value), lambda message: self.fail(message, param, ctx))


def parse_id(text: str, fail: Callable[[str], Any]) -> int:
    """Read a node id, or call ``fail`` (which raises) with what is wrong with it."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= ID_MAX:
        fail(f"{text!r} is not a node id; ids are whole numbers from 1 to 2^53-1")
    return int(text)


def parse_address(text: str, fail: Callable[[str], Any]) -> str:
    """Read ``host:port``, or call ``fail`` (which raises) with what is wrong with it."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or any(c.isspace() for c in text):
        fail(f"{text!r} is not of the form HOST:PORT (IPv6 in brackets: [fd00::5]:7001)")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        fail(f"{port!r} in {text!r} is not a port from 1 to 65535")
    return text


DURATION: Final = Duration()
NODE_ID: Final = NodeId()
NODE_IDS: Final = NodeIds()
ADDRESSES: Final = Addresses()
ADDRESS: Final = Address()


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep a global option where every command finds it; the last place on the line wins."""
    assert param.name is not None
    source = ctx.get_parameter_source(param.name)
    if value is None or source in (None, ParameterSource.DEFAULT):
        return value
    settings: Settings = ctx.find_root().obj
    name = param.name.removeprefix("global_")
    if name == "json":
        if value:
            settings.output = "json"
            settings.sources["output"] = source
        return value
    settings.sources[name] = source
    setattr(settings, name, value)
    flag, variable = ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT
    sources = settings.sources
    if sources.get("id") is flag and sources.get("sockets") is variable:
        # A flag is more than the environment: --id 2 means node 2 whatever RAFTCTL_SOCKET says.
        settings.sockets = ()
    if sources.get("id") is sources.get("sockets") is flag:
        raise click.UsageError("give either --socket or --id", ctx)
    return value


def _complete_socket(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from raftctl.completing import sockets

    return sockets(incomplete)


class GlobalOption(click.Option):
    """An option that every command takes and that is kept in ``Settings``, not passed on."""

    def __init__(self, *names: str, root: bool, env: str = "", **attrs: Any) -> None:
        attrs.setdefault("callback", _store)
        if root and env:
            attrs.update(envvar=f"{ENV_PREFIX}_{env}", show_envvar=True)
        super().__init__(list(names), expose_value=False, allow_from_autoenv=False, **attrs)


def global_options(*, root: bool) -> list[click.Parameter]:
    """Make the global options.

    Only the root's own read the environment, so that a flag before the subcommand is not
    overruled by a variable that is read after it.
    """

    def option(*names: str, env: str = "", **attrs: Any) -> GlobalOption:
        return GlobalOption(*names, root=root, env=env, **attrs)

    return [
        option(
            "-s",
            "--socket",
            "global_sockets",
            env="SOCKET",
            multiple=True,
            metavar="PATH",
            shell_complete=_complete_socket,
            help="Admin socket of a node; given more than once, the first that answers is used.",
        ),
        option(
            "--id",
            "global_id",
            env="ID",
            type=NODE_ID,
            metavar="N",
            help="The node on this host with this id: its socket in the run directory.",
        ),
        option(
            "-o",
            "--output",
            "global_output",
            env="OUTPUT",
            type=click.Choice(FORMATS),
            help="Text with aligned columns, one JSON object, JSON a line, or bare text.",
        ),
        option("--json", "global_json", is_flag=True, help="Short for --output json."),
        option(
            "--timeout",
            "global_timeout",
            env="TIMEOUT",
            type=DURATION,
            metavar="TIME",
            help="How long to wait for the answer, such as 500ms, 5s, 2m. Most commands: 5s.",
        ),
        option(
            "--no-forward",
            "global_no_forward",
            is_flag=True,
            help="Refuse with NOT_LEADER instead of letting the node ask the leader.",
        ),
        option("-y", "--yes", "global_yes", is_flag=True, help="Do not ask for confirmation."),
        option("-q", "--quiet", "global_quiet", is_flag=True, help="Say nothing but the answer."),
        option("-v", "--verbose", "global_verbose", count=True, help="Say more."),
        option(
            "--color",
            "global_color",
            env="COLOR",
            type=click.Choice(["auto", "always", "never"]),
            help="Styles in the text; auto: on a terminal, unless NO_COLOR is set.",
        ),
    ]
