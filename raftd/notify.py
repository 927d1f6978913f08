"""What systemd is told: started, doing what, reloading, stopping, still alive (sd_notify).

Without ``NOTIFY_SOCKET`` nothing is told. The protocol is one datagram of ``NAME=VALUE`` lines to a
Unix socket; see sd_notify(3).
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells the service manager.

    Args:
        environ: Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID stand.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ names a socket in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self.watchdog_seconds = _watchdog_seconds(environ) if address else 0.0
        """How long the service manager waits for a sign of life; 0: it does not."""

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def opening(self, seconds: float) -> None:
        """Tell that reading the data may take so long."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", "STATUS=opening the data")

    def ready(self) -> None:
        """Tell that the data is open and all sockets listen; also the end of a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that the settings are being read again."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """Tell that the orderly stop has begun and may take so long."""
        self._send(
            "STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={int((seconds + 5) * 1e6)}"
        )

    def status(self, text: str) -> None:
        """Tell in a line what the node is; the same line is not sent twice."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to fail, nor to wait.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), self._address)


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    pid = environ.get("WATCHDOG_PID", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
