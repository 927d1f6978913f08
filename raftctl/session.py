"""One run of raftctl: its settings, its output, and its connection to a raftd."""

from __future__ import annotations

import functools
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

from raftctl.errors import CtlError, from_wire
from raftctl.options import Settings
from raftctl.output import Meta, Output
from raftwire.errors import Code, WireError

if TYPE_CHECKING:
    from raftwire.admin import Call
    from raftwire.client import Client

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Session:
    """What a command has to work with.

    Attributes:
        settings: The global options.
        out: Where the answer goes.
        meta: Who gave the last answer.
        resumable: Whether something is under way that says how to go on if it is interrupted.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.out = Output(settings.output, color=settings.color, quiet=settings.quiet)
        self.meta = Meta()
        self.resumable = False
        self._client: Client | None = None

    def sockets(self) -> list[str]:
        """Return the admin sockets to try, in order.

        Raises:
            click.UsageError: Several nodes run here and none was chosen.
            CtlError: CONNECT when no node runs here.
        """
        if self.settings.sockets:
            return list(self.settings.sockets)
        from raftwire import paths

        if self.settings.id is not None:
            return [paths.find_socket(self.settings.id)]
        found = paths.find_sockets()
        if len(found) > 1:
            # A node that was killed leaves its socket behind; only those that listen count.
            found = [path for path in found if _listens(path)] or found
        if len(found) == 1:
            return found
        if not found:
            places = ", ".join(paths.run_dirs())
            raise CtlError(
                Code.CONNECT,
                f"no raftd runs on this host: there is no socket in {places}.",
                hint="start one (raftd --id 1 --peers 1=127.0.0.1:7001), or name its socket "
                "with --socket PATH",
            )
        listed = "\n".join(f"  {path}" for path in found)
        raise click.UsageError(
            f"{len(found)} nodes run on this host; choose one with --id N or --socket PATH:\n"
            f"{listed}"
        )

    @property
    def client(self) -> Client:
        """The client, made when it is first needed; it connects with the first request."""
        if self._client is None:
            from raftwire.client import Client

            self._client = Client(
                self.sockets(),
                timeout=self.settings.deadline(),
                no_forward=self.settings.no_forward,
            )
        return self._client

    def call(self, call: Call[T], *, timeout: float = 5.0) -> T:
        """Ask the node and return its answer.

        Args:
            call: From a builder of ``raftwire.admin``.
            timeout: Seconds, unless the user gave ``--timeout``; the node is told, too.

        Raises:
            CtlError: What the node refused, or that it could not be asked.
        """
        with self.translated():
            try:
                return self.client.call(call, self.settings.deadline(timeout))
            finally:
                self.note_answer()

    def stream(self, call: Call[T], *, timeout: float | None = None) -> Iterator[T]:
        """Ask the node and return its answers as they come, to the end of the stream.

        Args:
            call: As ``call``.
            timeout: Seconds to wait for each answer, unless the user gave ``--timeout``; None:
                for ever.

        Raises:
            CtlError: As ``call``; also in the middle.
        """
        given = self.settings.timeout
        with self.translated():
            for reply in self.client.stream(call, timeout if given is None else given):
                self.note_answer()
                yield reply

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be undone.

        Raises:
            CtlError: NOT_CONFIRMED when the answer is no, or nobody is there to be asked.
        """
        if self.settings.yes:
            return
        if sys.stdin.isatty() and self.out.live:
            if click.confirm(question, default=False, err=True):
                return
            raise CtlError("NOT_CONFIRMED", "Nothing was done.", outcome="not_applied")
        raise CtlError(
            "NOT_CONFIRMED",
            f"{question} Nobody is here to answer, so nothing was done.",
            hint="say --yes if this is what you want",
            outcome="not_applied",
        )

    def note_answer(self) -> None:
        """Remember who gave the client's last answer."""
        last = self._client.last if self._client is not None else None
        if last is not None:
            self.meta = Meta(
                last.node or self.meta.node,
                last.leader,
                last.term,
                last.cluster_id or self.meta.cluster_id,
            )

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the wire's errors into raftctl's."""
        try:
            yield
        except WireError as error:
            raise from_wire(error) from error


def pass_session(
    function: Callable[Concatenate[Session, P], R],
) -> Callable[P, R]:
    """Give a command function the session as its first argument, and close it afterwards."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        root = click.get_current_context().find_root()
        session: Session | None = root.meta.get("raftctl.session")
        if session is None:
            session = root.meta["raftctl.session"] = Session(root.obj)
            root.call_on_close(session.close)
        return function(session, *args, **kwargs)

    return wrapper


def repeat(session: Session, seconds: float | None, show: Callable[[], None]) -> None:
    """Show something once, or again and again until Ctrl-C.

    Args:
        session: Its output is redrawn in place on a terminal, and appended to elsewhere.
        seconds: Time between two showings; None: once.
        show: Asks and prints.
    """
    if seconds is None:
        show()
        return
    out = session.out
    while True:
        if out.live:
            out.stdout.write("\x1b[H\x1b[2J")
            out.line(f"every {seconds:g}s, Ctrl-C to stop - {time.strftime('%H:%M:%S')}", "dim")
        try:
            show()
        except CtlError as error:
            # A node that restarts under a watch is what the watch is for: say so and go on.
            session.close()
            out.error(error)
        out.stdout.flush()
        time.sleep(seconds)
        if not out.live and not out.machine:
            out.line()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
