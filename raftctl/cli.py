"""The command tree of raftctl, and how a run of it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from raftctl.errors import EXIT_MEANINGS, CtlError, ExitCode, from_usage, from_wire
from raftctl.group import CONTEXT, Entry, Group, Sections
from raftctl.options import ENV_PREFIX, FORMATS, Settings
from raftwire.errors import LocalError

SECTIONS: Final[Sections] = {
    "Data": {
        "propose": Entry("raftctl.commands.propose:propose", "Append to the replicated log."),
        "outcome": Entry(
            "raftctl.commands.outcome:outcome", "Ask what became of a proposal with a key."
        ),
        "read-index": Entry(
            "raftctl.commands.read_index:read_index", "Ask for an index that is safe to read at."
        ),
        "log": Entry("raftctl.commands.log:log", "Show and follow the replicated log."),
        "kv": Entry("raftctl.commands.kv:kv", "Use the key-value store (clusters of kind kv)."),
    },
    "Seeing": {
        "status": Entry("raftctl.commands.status:status", "Show a node and its view of the group."),
        "progress": Entry(
            "raftctl.commands.progress:progress", "Show how far each member has got."
        ),
        "health": Entry(
            "raftctl.commands.health:health", "Say whether the group is well (exit 7: no)."
        ),
        "wait": Entry("raftctl.commands.wait:wait", "Wait until something is so."),
        "events": Entry("raftctl.commands.events:events", "Show what happened, and what happens."),
        "metrics": Entry("raftctl.commands.metrics:metrics", "Print the node's metrics."),
        "top": Entry("raftctl.commands.top:top", "Watch the group at work."),
        "doctor": Entry(
            "raftctl.commands.doctor:doctor", "Find out what is wrong, and what to do."
        ),
        "bench": Entry("raftctl.commands.bench:bench", "Measure throughput and latency."),
    },
    "Data on disk": {
        "snapshot": Entry(
            "raftctl.commands.snapshot:snapshot", "Make, save, check and restore snapshots."
        ),
        "compact": Entry("raftctl.commands.compact:compact", "Drop the beginning of the log."),
        "verify": Entry("raftctl.commands.verify:verify", "Compare what all members have applied."),
        "offline": Entry(
            "raftctl.commands.offline:offline", "Look into the data of a node that is stopped."
        ),
        "recover": Entry(
            "raftctl.commands.recover:recover", "Save a group that lost its majority for good."
        ),
    },
    "Leadership": {
        "campaign": Entry(
            "raftctl.commands.leadership:campaign", "Have a node stand for election."
        ),
        "transfer-leader": Entry(
            "raftctl.commands.leadership:transfer_leader", "Hand leadership to another voter."
        ),
        "step-down": Entry(
            "raftctl.commands.leadership:step_down", "Hand leadership to whoever is best placed."
        ),
    },
    "Membership": {
        "member": Entry("raftctl.commands.member:member", "Show and change who is in the group."),
    },
    "Daemon": {
        "config": Entry("raftctl.commands.config:config", "Show a node's settings, and whence."),
        "loglevel": Entry("raftctl.commands.process:loglevel", "Show or change how much it logs."),
        "reload": Entry("raftctl.commands.process:reload", "Have it read its settings again."),
        "debug": Entry("raftctl.commands.debug:debug", "Gather what a bug report needs."),
    },
    "Security": {
        "tls": Entry("raftctl.commands.tls:tls", "Make certificates for peer traffic."),
    },
    "Other": {
        "demo": Entry("raftctl.commands.demo:demo", "Run a cluster through its life, in a minute."),
        "version": Entry("raftctl.commands.version:version", "Show versions, ours and the node's."),
        "schema": Entry("raftctl.commands.schema:schema", "Print the JSON Schema of an answer."),
        "completion": Entry(
            "raftctl.commands.completion:completion", "Print the completion script of a shell."
        ),
    },
}


class Root(Group):
    """The outermost group: gives every run its settings."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the context, with settings that the global options are kept in."""
        extra.setdefault("obj", Settings())
        return super().make_context(info_name, args, parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options, and what ``--version`` needs."""
        return super().get_params(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes under everything else."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(c)), text) for c, text in EXIT_MEANINGS.items()])


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from raftctl.commands.version import own_version

        click.echo(f"raftctl {own_version()}")
        ctx.exit()


cli = Root(
    "raftctl",
    sections=SECTIONS,
    root=True,
    help="""Talk to a raftd: propose, read, reshape the group, see what it is doing.

    Without --socket or --id it is the only node that runs on this host. Answers go to
    standard output, messages to standard error; --json prints one object, errors included.
    """,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
    context_settings={**CONTEXT, "auto_envvar_prefix": ENV_PREFIX},
)


def run(args: Sequence[str]) -> int:
    """Run raftctl and return its exit code; everything that can be told has been told."""
    try:
        code = _run(list(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough (`| head`). Python would complain about it once more when it
        # flushes at exit, so standard output is pointed at nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.BROKEN_PIPE
    return code


def _run(args: list[str]) -> int:
    from raftctl.output import Output

    settings = Settings(output=_format_of(args))
    try:
        with cli.make_context("raftctl", args, obj=settings) as ctx:
            cli.invoke(ctx)
            return ExitCode.OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(sys.stderr)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _tell(Output(settings.output, color=settings.color), from_usage(error))
    except CtlError as error:
        return _tell(Output(settings.output, color=settings.color), error)
    except LocalError as error:
        # What was asked for cannot be sent: a key that is too long, and the like.
        return _tell(Output(settings.output, color=settings.color), from_wire(error))
    except (KeyboardInterrupt, EOFError, click.Abort):
        return ExitCode.INTERRUPTED


def _tell(out: Any, error: CtlError) -> int:
    out.error(error)
    return error.exit_code


def _format_of(args: Sequence[str]) -> str:
    """Guess the output format before the line is parsed, to tell even of a line that cannot be.

    What the parser then finds replaces it.
    """
    found = os.environ.get(f"{ENV_PREFIX}_OUTPUT", "table")
    for before, arg in zip(["", *args], args, strict=False):
        if arg == "--":
            break
        if arg == "--json":
            found = "json"
        elif before in ("-o", "--output"):
            found = arg
        elif arg.startswith("--output="):
            found = arg.removeprefix("--output=")
        elif arg.startswith("-o") and len(arg) > 2:
            found = arg[2:]
    return found if found in FORMATS else "table"


def main() -> NoReturn:
    """Run raftctl on the process's arguments and exit."""
    if f"_{ENV_PREFIX}_COMPLETE" in os.environ:
        cli.main(prog_name="raftctl")
    sys.exit(run(sys.argv[1:]))
