"""A file system in memory that knows what of it is durable, and can forget the rest.

Only what was flushed is durable: bytes by an fsync of their file, names by an fsync of their
directory. That is the least that POSIX promises; ext4 and XFS keep more, mostly, so a program that
loses nothing here loses nothing there. A rename is one step: no power cut shows half of it.
What a power cut leaves of the rest is drawn: nothing, or the steps up to some point, of each file
and of the directories, with the last write torn. The names are those of FUSE's operations, so
mfusepy serves an object of this class as it is.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import time
from dataclasses import dataclass, field
from typing import Any, Final

_BLOCK: Final = 4096
_BLOCKS: Final = 2**18
"""A gigabyte, as far as statfs is asked."""


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


@dataclass(eq=False)
class File:
    """A file's bytes, those of them that are durable, and what was done since."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    steps: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Since the last flush: bytes written at an offset, or None: cut or extended to a length."""
    changed: float = 0.0

    def write(self, offset: int, data: bytes) -> None:
        """Write."""
        _put(self.data, offset, data)
        self.steps.append((offset, data))
        self.changed = time.time()

    def resize(self, size: int) -> None:
        """Cut the file, or extend it with zeros."""
        _resize(self.data, size)
        self.steps.append((size, None))
        self.changed = time.time()

    def flush(self) -> None:
        """Make all of it durable."""
        self._keep(len(self.steps))
        self.steps.clear()

    def _keep(self, count: int) -> None:
        for offset, data in self.steps[:count]:
            if data is None:
                _resize(self.kept, offset)
            else:
                _put(self.kept, offset, data)

    def forget(self, rng: random.Random | None) -> int:
        """Go back to what is durable, with a drawn part of the rest; return the steps forgotten."""
        lost = len(self.steps)
        if rng is not None and self.steps:
            count = rng.randint(0, lost)
            self._keep(count)
            lost -= count
            if lost and (data := self.steps[count][1]):
                _put(self.kept, self.steps[count][0], data[: rng.randrange(len(data))])
        self.steps.clear()
        self.data = bytearray(self.kept)
        return lost


@dataclass(eq=False)
class Folder:
    """A directory's names, and those of them that are durable."""

    mode: int
    names: dict[str, Item] = field(default_factory=dict)
    kept: dict[str, Item] = field(default_factory=dict)
    changed: float = 0.0


Item = File | Folder
Change = tuple[Folder, str, Item | None]
"""A name in a directory gets to mean something, or nothing."""


def _put(data: bytearray, offset: int, piece: bytes) -> None:
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


class Medium:
    """The file system: FUSE's operations, and `forget`."""

    use_ns = True

    def __init__(self) -> None:
        self.root = Folder(0o700)
        self._journal: list[tuple[Change, ...]] = []
        """Changes of names that are not durable, in order; each all or not at all."""
        self._open: dict[int, Item] = {}
        self._handles = 0

    def forget(self, rng: random.Random | None = None) -> int:
        """Lose what is not durable, as a power cut would; nothing may be open.

        Args:
            rng: Draws how much of it is there all the same; None: nothing.

        Returns:
            How many writes and changes of names are gone.
        """
        lost = len(self._journal)
        if rng is not None:
            count = rng.randint(0, lost)
            for changes in self._journal[:count]:
                self._keep(changes)
            lost -= count
        self._journal.clear()
        self._open.clear()
        files: set[File] = set()
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            folder.names = dict(folder.kept)
            for item in folder.names.values():
                if isinstance(item, Folder):
                    waiting.append(item)
                elif item not in files:
                    files.add(item)
                    lost += item.forget(rng)
        return lost

    # --- names ----------------------------------------------------------------------------------

    def _find(self, path: str) -> Item:
        item: Item = self.root
        for name in path.split("/"):
            if not name:
                continue
            if not isinstance(item, Folder):
                raise _error(errno.ENOTDIR, path)
            if name not in item.names:
                raise _error(errno.ENOENT, path)
            item = item.names[name]
        return item

    def _folder(self, path: str) -> Folder:
        item = self._find(path)
        if not isinstance(item, Folder):
            raise _error(errno.ENOTDIR, path)
        return item

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        return self._folder(above), name

    def _change(self, *changes: Change) -> None:
        for folder, name, item in changes:
            if item is None:
                del folder.names[name]
            else:
                folder.names[name] = item
            folder.changed = time.time()
        self._journal.append(changes)

    @staticmethod
    def _keep(changes: tuple[Change, ...]) -> None:
        for folder, name, item in changes:
            if item is None:
                folder.kept.pop(name, None)
            else:
                folder.kept[name] = item

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Make the names of a directory durable."""
        folder = self._open[fh]
        # A rename out of another directory is one step, so what that builds on goes with it.
        touched: set[tuple[Folder, str]] = set()
        chosen = []
        for changes in reversed(self._journal):
            places = {(where, name) for where, name, _ in changes}
            if any(where is folder for where, _ in places) or places & touched:
                touched |= places
                chosen.append(changes)
        for changes in reversed(chosen):
            self._keep(changes)
            self._journal.remove(changes)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        """Make a directory."""
        folder, name = self._place(path)
        self._change((folder, name, Folder(mode & 0o7777, changed=time.time())))
        return 0

    def rmdir(self, path: str) -> int:
        """Remove an empty directory."""
        if self._folder(path).names:
            raise _error(errno.ENOTEMPTY, path)
        folder, name = self._place(path)
        self._change((folder, name, None))
        return 0

    def unlink(self, path: str) -> int:
        """Remove a name of a file; what is open stays open."""
        self._find(path)
        folder, name = self._place(path)
        self._change((folder, name, None))
        return 0

    def rename(self, old: str, new: str) -> int:
        """Rename, over what has the new name."""
        item = self._find(old)
        source, old_name = self._place(old)
        target, new_name = self._place(new)
        there = target.names.get(new_name)
        if isinstance(there, Folder) and there.names:
            raise _error(errno.ENOTEMPTY, new)
        if there is not item:
            self._change((source, old_name, None), (target, new_name, item))
        return 0

    def link(self, target: str, source: str) -> int:
        """Give a file one more name."""
        folder, name = self._place(target)
        self._change((folder, name, self._find(source)))
        return 0

    def opendir(self, path: str) -> int:
        """Open a directory."""
        return self._handle(self._folder(path))

    def releasedir(self, path: str, fh: int) -> int:
        """Close it."""
        return self.release(path, fh)

    def readdir(self, path: str, fh: int) -> list[str]:
        """List it."""
        return [".", "..", *self._folder(path).names]

    # --- files ----------------------------------------------------------------------------------

    def _handle(self, item: Item) -> int:
        self._handles += 1
        self._open[self._handles] = item
        return self._handles

    def _file(self, path: str, fh: int | None) -> File:
        item = self._find(path) if fh is None else self._open[fh]
        if not isinstance(item, File):
            raise _error(errno.EISDIR, path)
        return item

    def create(self, path: str, mode: int, flags: int) -> int:
        """Make a file and open it."""
        file = File(mode & 0o7777, changed=time.time())
        folder, name = self._place(path)
        self._change((folder, name, file))
        return self._handle(file)

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        file = self._file(path, None)
        if flags & os.O_TRUNC:
            file.resize(0)
        return self._handle(file)

    def release(self, path: str, fh: int) -> int:
        """Close what is open."""
        self._open.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read."""
        return bytes(self._file(path, fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write."""
        self._file(path, fh).write(offset, data)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Cut a file, or extend it."""
        self._file(path, fh).resize(length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Make a file's bytes durable; not its name."""
        self._file(path, fh).flush()
        return 0

    # --- attributes -----------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Describe a file or directory."""
        item = self._find(path) if fh is None else self._open[fh]
        folder = isinstance(item, Folder)
        size = _BLOCK if isinstance(item, Folder) else len(item.data)
        when = int(item.changed * 1e9)
        return {
            "st_mode": item.mode | (stat.S_IFDIR if folder else stat.S_IFREG),
            "st_nlink": 2 if folder else 1,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_atime": when,
            "st_mtime": when,
            "st_ctime": when,
        }

    def chmod(self, path: str, mode: int) -> int:
        """Set permissions; at once durable, which nothing here depends on."""
        self._find(path).mode = mode & 0o7777
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Take no notice: all belongs to who mounted it."""
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Set the time of the last change."""
        self._find(path).changed = times[1] / 1e9 if times else time.time()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        """Tell of much room."""
        return {
            "f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": _BLOCKS, "f_bfree": _BLOCKS,
            "f_bavail": _BLOCKS, "f_files": _BLOCKS, "f_ffree": _BLOCKS, "f_namemax": 255,
        }  # fmt: skip
