"""How this process keeps its memory: garbage collection rarely, and no page given back for a while.

Messages and entries are freed by their reference counts; what the collector would find is rare. A
value of a megabyte passes through some twenty buffers on its way. By default the C library asks
the kernel for each of that size and gives it back, and the kernel clears every page anew: with
1 MB values that took a tenth of a node's CPU.
"""

import ctypes
import gc
from typing import Final

from raftwire.limits import MIB

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_TRIM_BYTES: Final = 16 * MIB
"""Free memory at the heap's end that is kept for the next large values."""
_MMAP_BYTES: Final = 4 * MIB
"""Blocks above this are asked of the kernel one by one, as usual."""


def set_up() -> None:
    """Set both for a process that serves; before it has threads."""
    gc.set_threshold(20_000, 20, 20)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # Another C library than glibc: it has no such settings.
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def settle() -> None:
    """What the start has built stays: no collection needs to look at it again."""
    gc.collect()
    gc.freeze()
