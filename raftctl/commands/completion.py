"""``raftctl completion``: the completion scripts of the shells."""

from __future__ import annotations

from typing import Final

import click

from raftctl.group import command
from raftctl.session import Session, pass_session

SHELLS: Final = ("bash", "zsh", "fish")


@command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option(
    "--for",
    "program",
    type=click.Choice(["raftctl", "raftd"]),
    default="raftctl",
    show_default=True,
    help="The program to complete.",
)
@pass_session
def completion(session: Session, shell: str, program: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   eval "$(raftctl completion bash)"
    zsh    raftctl completion zsh > "${fpath[1]}/_raftctl"
    fish   raftctl completion fish > ~/.config/fish/completions/raftctl.fish
    """  # noqa: D301 - click reads the \b
    session.out.stdout.write(script(shell, program))


def script(shell: str, program: str) -> str:
    """Return the completion script of a program (``raftctl`` or ``raftd``) for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    completer = kind(click.Command(program), {}, program, f"_{program.upper()}_COMPLETE")
    # Not completer.source(): for bash that runs the host's bash to ask for its version.
    text = completer.source_template % completer.source_vars()
    # Click's script for fish would cut `1,2` after the 1: a list of ids is one completion.
    text = text.replace('(string split "," $completion)', '(string split -m 1 "," $completion)')
    return text.strip() + "\n"
