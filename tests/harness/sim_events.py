"""Kinds of events on a simulation's heap."""

from typing import Final

TICK: Final = 0
DELIVER: Final = 1
FLUSH: Final = 2
CLIENT: Final = 3
TIMEOUT: Final = 4
FAULT: Final = 5
CALL: Final = 6
TURN: Final = 7
