"""click's commands and groups as raftctl uses them: loaded when used, global options everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import click

from raftctl.options import GlobalOption, global_options


class Entry(NamedTuple):
    """A subcommand that is imported when it is used.

    Attributes:
        target: ``module:attribute``.
        summary: The line in its group's help, so that help imports nothing.
    """

    target: str
    summary: str


Sections = Mapping[str, Mapping[str, Entry]]
"""Subcommands by the heading they stand under in the help."""

_AFTER: list[click.Parameter] = []


def _options_after() -> list[click.Parameter]:
    if not _AFTER:
        _AFTER.extend(global_options(root=False))
    return _AFTER


class Command(click.Command):
    """A command that also takes the global options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options, then the global ones."""
        return [*super().get_params(ctx), *_options_after()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones under their own heading."""
        _write_options(self.get_params(ctx), ctx, formatter)


class Group(click.Group):
    """A group whose subcommands are imported when they are used."""

    command_class = Command

    def __init__(self, name: str, *, sections: Sections, root: bool = False, **attrs: Any) -> None:
        super().__init__(name, **attrs)
        self.sections = sections
        self.root = root
        self._entries = {n: e for entries in sections.values() for n, e in entries.items()}
        self._root_options = global_options(root=True) if root else []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's own options, then the global ones."""
        return [*super().get_params(ctx), *(self._root_options if self.root else _options_after())]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            module, _, attribute = entry.target.partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, or say which one may have been meant."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            import difflib

            close = difflib.get_close_matches(name, self._entries, n=3)
            ask = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"No such command {name!r}.{ask}")
        return name if command else None, command, args[1:]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands under their headings, then the options."""
        for title, entries in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])
        _write_options(self.get_params(ctx), ctx, formatter)


def _write_options(
    params: list[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for param in params:
        # Arguments are in the usage line, and in the text where they need words.
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            (shared if isinstance(param, GlobalOption) else own).append(record)
    if own:
        with formatter.section("Options"):
            formatter.write_dl(own)
    if shared and ctx.parent is None:
        with formatter.section("Global options, before or after the command"):
            formatter.write_dl(shared)
    elif shared:
        # All of them again in every help would bury the command's own options.
        names = ", ".join(p.opts[0] for p in params if isinstance(p, GlobalOption))
        with formatter.section("Global options"):
            formatter.write_text(f"{names}; see raftctl --help.")


CONTEXT: Final[dict[str, Any]] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


def command(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a raftctl command; its docstring is the help text."""
    return click.command(name, cls=Command, context_settings=CONTEXT, **attrs)


def group(name: str, sections: Sections, **attrs: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a group of lazily imported commands; its docstring is the help text."""

    def decorate(function: Callable[..., Any]) -> Group:
        return Group(
            name,
            sections=sections,
            callback=function,
            help=function.__doc__,
            context_settings=CONTEXT,
            **attrs,
        )

    return decorate
