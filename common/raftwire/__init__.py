"""raftwire: the bytes between Raft nodes and their clients.

``raftwire.frame``, ``peer`` and ``admin`` are sans-I/O: they turn messages into bytes and back, and
check them. ``raftwire.Client`` (blocking) and ``raftwire.AsyncClient`` (asyncio) speak the admin
protocol with a running ``raftd``:

    >>> import raftwire
    >>> with raftwire.Client("/run/raftd/1.sock") as client:          # doctest: +SKIP
    ...     client.propose(b"hello", key="order-17").index
    1042

Importing the package itself costs next to nothing; each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raftwire.aio import AsyncClient, AsyncKv
    from raftwire.client import Client, Kv
    from raftwire.errors import AdminError, Code, FrameError, LocalError, RemoteError, WireError

__all__ = [
    "AdminError",
    "AsyncClient",
    "AsyncKv",
    "Client",
    "Code",
    "FrameError",
    "Kv",
    "LocalError",
    "RemoteError",
    "WireError",
]

_HOMES = {
    "AsyncClient": "raftwire.aio",
    "AsyncKv": "raftwire.aio",
    "Client": "raftwire.client",
    "Kv": "raftwire.client_kv",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it, once."""
    if name not in __all__:
        raise AttributeError(f"module 'raftwire' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "raftwire.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
