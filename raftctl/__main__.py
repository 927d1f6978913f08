"""Starts raftctl: the installed command and ``python -m raftctl`` both come through here."""

from __future__ import annotations

import gc
from typing import Final, NoReturn

OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000
"""A start makes some 60,000 objects that all stay; looking through them for garbage a dozen
times would be a seventh of its time. What runs for long (``top``, ``log tail -f``) still collects.
"""


def main() -> NoReturn:
    """Run raftctl on the process's arguments and exit.

    What the process made is not looked through once more at its end either. Leaving by
    ``os._exit`` would be as fast, but skip what is registered to happen at exit.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    from raftctl.cli import main as run

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
