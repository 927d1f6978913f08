"""The key-value store on RocksDB: the only place that knows rocksdict.

Seven properties of rocksdict 0.3.29, each measured, shape this module:

* Its default mode unpickles what it reads. Every Options and WriteBatch here is in raw mode: bytes
  only.
* ``keys()``, ``items()`` and ``values()`` end silently at a damaged block. Reads go through ``get``
  or through an iterator whose ``status()`` is asked at its end.
* A write with ``sync=True`` keeps the GIL through the fsync; ``flush_wal(True)`` lets it go.
  Batches are written unsynced and ``sync`` flushes the journal.
* A ``Snapshot``'s iterators show the present, not the moment of the snapshot. A view holds
  iterators made at its moment instead: each of them does stand still.
* ``ReadOptions.set_iterate_lower_bound`` sets the *upper* bound. Scans seek to their start instead.
* An upper bound is freed with its ReadOptions while the iterator still reads it: scans then end
  early, without an error. Scans compare keys with their end themselves.
* Of what makes table files, ``flush`` and ``compact_range`` let the GIL go; ``SstFileWriter`` and
  ``ingest_external_file`` keep it, through their fsyncs too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import rocksdict

from raftd.kvstore import (
    Batch,
    ColumnFamily,
    CorruptionError,
    DataDirError,
    LockedError,
    Position,
    StoreClosed,
    StoreError,
    StoreReadError,
    StoreWriteError,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB

DB_DIR: Final = "db"
LOCK_FILE: Final = "LOCK"
INITIALIZING: Final = "initializing"
"""Side file that exists from the creation of a database until its first contents are durable."""

_WAL_NAME = re.compile(r"(\d+)\.log")


@dataclass(frozen=True, slots=True)
class RocksTuning:
    """Memory and file limits; the defaults keep a whole node at some 70 MB resident.

    Attributes:
        log_buffer_bytes, state_buffer_bytes: Size of one memtable of the family; small ones are
            flushed often, large ones use memory and make the journal replayed at start longer.
        small_buffer_bytes: The same for META and SESSIONS.
        total_buffer_bytes: All memtables of all families together.
        cache_bytes: Uncompressed blocks kept for reads.
        wal_bytes_max: Journal kept at most; bounds the replay at start.
        open_files_max: Table files held open.
        background_jobs: Threads for flushes and compactions.
    """

    log_buffer_bytes: int = 4 * MIB
    state_buffer_bytes: int = 4 * MIB
    small_buffer_bytes: int = 2 * MIB
    total_buffer_bytes: int = 12 * MIB
    cache_bytes: int = 8 * MIB
    wal_bytes_max: int = 64 * MIB
    open_files_max: int = 256
    background_jobs: int = 2


class RocksBatch:
    """Changes that RocksDB takes as one."""

    __slots__ = ("_delete", "_delete_range", "_handles", "_put", "raw")

    def __init__(self, handles: list[rocksdict.ColumnFamily]) -> None:
        self.raw = rocksdict.WriteBatch(raw_mode=True)
        self._handles = handles
        self._put = self.raw.put
        self._delete = self.raw.delete
        self._delete_range = self.raw.delete_range

    def put(self, cf: ColumnFamily, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        self._put(key, value, self._handles[cf])

    def put_all(self, cf: ColumnFamily, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each key to its value; saves a quarter of what as many calls of ``put`` take."""
        put, handle = self._put, self._handles[cf]
        for key, value in pairs:
            put(key, value, handle)

    def delete(self, cf: ColumnFamily, key: bytes) -> None:
        """Remove ``key``."""
        self._delete(key, self._handles[cf])

    def delete_range(self, cf: ColumnFamily, start: bytes, end: bytes) -> None:
        """Remove every key in ``[start, end)``; costs one record, however many there are."""
        if start < end:
            self._delete_range(start, end, self._handles[cf])

    def __len__(self) -> int:
        return self.raw.len()

    @property
    def size_bytes(self) -> int:
        """Bytes the batch takes in the journal."""
        return self.raw.size_in_bytes()


class _RocksView:
    def __init__(self, iterators: dict[ColumnFamily, rocksdict.RdictIter]) -> None:
        self._iterators = iterators

    def scan(self, cf: ColumnFamily, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        iterator = self._iterators[cf]
        try:
            iterator.seek(start)
            while iterator.valid():
                key: bytes = iterator.key()
                if key >= end:
                    return
                yield key, iterator.value()
                iterator.next()
            iterator.status()
        except StoreError:
            raise
        except Exception as error:
            _raise_read_error(error)

    def close(self) -> None:
        self._iterators = {}


class DirectoryLock:
    """The exclusive use of a data directory: an flock on its file LOCK, which names the holder.

    RocksDB has a lock of its own, but its error does not say who holds it.
    """

    def __init__(self, data_dir: Path) -> None:
        """Take the lock.

        Raises:
            LockedError: Another process has it.
        """
        path = data_dir / LOCK_FILE
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).strip()
            os.close(self._fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            pid = int(holder) if holder.isdigit() else None
            raise LockedError(str(data_dir), pid) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the directory go. The file stays: removing it would let two holders in."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def check_data_dir(data_dir: Path) -> None:
    """Refuse a data directory that others could read into or write to.

    Raises:
        DataDirError: It is missing, no directory, not ours, or writable by group or others.
    """
    try:
        found = os.stat(data_dir, follow_symlinks=True)
    except FileNotFoundError:
        raise DataDirError(
            f"data directory {data_dir} does not exist; this node was never initialized here, or"
            " a disk is not mounted; check the path before you bootstrap or join"
        ) from None
    except OSError as error:
        raise DataDirError(
            f"data directory {data_dir} cannot be examined ({error.strerror}); the node cannot"
            " start; check the path and its permissions"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise DataDirError(f"{data_dir} is not a directory; give --data-dir one of this node's own")
    if found.st_uid != os.geteuid():
        raise DataDirError(
            f"data directory {data_dir} belongs to user {found.st_uid}, but this process is user"
            f" {os.geteuid()}; its files could be changed under the node;"
            f" run raftd as their owner, or chown -R {os.geteuid()} {data_dir}"
        )
    if found.st_mode & 0o022:
        raise DataDirError(
            f"data directory {data_dir} is writable by group or others (mode"
            f" {stat.S_IMODE(found.st_mode):04o}); anyone of them could change votes and log;"
            f" run: chmod 0700 {data_dir}"
        )
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise DataDirError(
            f"data directory {data_dir} is not writable (mode {stat.S_IMODE(found.st_mode):04o}"
            " or a read-only file system); the node could not persist a vote; run: chmod 0700"
            f" {data_dir}"
        )


def is_initialized(data_dir: Path) -> bool:
    """Return whether a node's store was made here: a restart must open it, not create it.

    An unfinished creation counts as none. Any other trace of a store counts as one, so that a
    damaged store is opened, and refused with its reason, instead of being made anew.
    """
    if (data_dir / f"{INITIALIZING}.json").exists():
        return False
    return (data_dir / "identity.json").exists() or (data_dir / DB_DIR).exists()


class RocksStore:
    """``KeyValueStore`` on one RocksDB in ``<data_dir>/db``, with its side files beside it.

    Reads and writes are for one thread, with these exceptions, safe in a worker thread beside it:
    ``sync``, ``flush_family``, ``side_write``, ``compact``, ``write`` of batches that touch other
    keys, and iteration of a view. Any failed write latches: see ``failure``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        create: bool,
        read_only: bool,
        tuning: RocksTuning,
        lock: DirectoryLock | None,
    ) -> None:
        """Open the database; use ``create``, ``open`` or ``open_read_only``."""
        self._dir = data_dir
        self._db_path = data_dir / DB_DIR
        self._lock = lock
        self._read_only = read_only
        self._failure: StoreWriteError | None = None
        self._closed = False
        self._usage = 0
        self._views: weakref.WeakSet[_RocksView] = weakref.WeakSet()
        wal_found = self._newest_wal()
        families = {family: _options(tuning, family, create=create) for family in ColumnFamily}
        access = (
            rocksdict.AccessType.read_only(False)
            if read_only
            else rocksdict.AccessType.read_write()
        )
        before = os.umask(0o077)
        try:
            self._db = rocksdict.Rdict(
                str(self._db_path),
                _options(tuning, None, create=create),
                column_families={
                    family.name.lower(): options for family, options in families.items()
                },
                access_type=access,
            )
        except Exception as error:
            _raise_open_error(error, str(self._db_path))
        finally:
            os.umask(before)
        self._handles = [
            self._db.get_column_family_handle(family.name.lower()) for family in ColumnFamily
        ]
        self._tables = [self._db.get_column_family(family.name.lower()) for family in ColumnFamily]
        self._recovered = Position(self._db.latest_sequence_number(), wal_found)
        self._past_journal = rocksdict.WriteOptions()
        # The stubs take it for a method.
        setattr(self._past_journal, "disable_wal", True)  # noqa: B010
        # RocksDB's newest sequence number after the last write past the journal, and the newest one
        # before it that the journal has: what follows that may be gone after a crash. With a lock,
        # or another thread's write could come between.
        self._numbers = threading.Lock()
        self._ahead_end = -1
        self._journaled = 0

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, data_dir: str | Path, tuning: RocksTuning | None = None) -> RocksStore:
        """Make an empty store in ``data_dir``, which is created with mode 0700 if it is missing.

        The remains of a creation that did not finish are removed first.

        Raises:
            DataDirError: The directory cannot be used, or holds a store already.
            LockedError: Another process uses it.
        """
        path = Path(data_dir)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirError(
                f"data directory {path} cannot be created ({error.strerror}); the node has"
                " nowhere to keep its log; check the path and its parent's permissions"
            ) from None
        check_data_dir(path)
        lock = DirectoryLock(path)
        try:
            if is_initialized(path):
                raise DataDirError(
                    f"data directory {path} holds a store already; making a new one over it would"
                    " forget votes and acknowledged entries; start the node on it, or give another"
                    " --data-dir"
                )
            _write_file(path, INITIALIZING, b"{}\n")
            shutil.rmtree(path / DB_DIR, ignore_errors=True)
            (path / DB_DIR).mkdir(mode=0o700)
            return cls(
                path, create=True, read_only=False, tuning=tuning or RocksTuning(), lock=lock
            )
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, data_dir: str | Path, tuning: RocksTuning | None = None) -> RocksStore:
        """Open the store of ``data_dir``; never creates one.

        Raises:
            DataDirError: The directory cannot be used or holds no store.
            LockedError: Another process uses it.
            CorruptionError: RocksDB refuses what it finds.
        """
        path = Path(data_dir)
        check_data_dir(path)
        lock = DirectoryLock(path)
        try:
            cls._require_database(path)
            return cls(
                path, create=False, read_only=False, tuning=tuning or RocksTuning(), lock=lock
            )
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_read_only(cls, data_dir: str | Path, tuning: RocksTuning | None = None) -> RocksStore:
        """Open the store for reading, also beside a running node; sees what it had written by then.

        Raises:
            DataDirError: The directory holds no store.
            CorruptionError: RocksDB refuses what it finds.
        """
        path = Path(data_dir)
        cls._require_database(path)
        return cls(path, create=False, read_only=True, tuning=tuning or RocksTuning(), lock=None)

    @staticmethod
    def _require_database(path: Path) -> None:
        if (path / f"{INITIALIZING}.json").exists():
            raise DataDirError(
                f"the creation of the store in {path} did not finish; nothing was promised from"
                " it yet; run the same bootstrap or join again"
            )
        if (path / DB_DIR / "CURRENT").exists():
            return
        if is_initialized(path):
            raise CorruptionError(
                f"the database in {path / DB_DIR} is gone or has lost its file CURRENT, though this"
                " directory held a node; its votes and entries are lost; remove this node from the"
                " group and add it again under a new id"
            )
        raise DataDirError(
            f"data directory {path} holds no store; this node was never initialized here;"
            " bootstrap a group or join one"
        )

    # -- reads -----------------------------------------------------------------------------------

    def get(self, cf: ColumnFamily, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        try:
            value: bytes | None = self._tables[cf].get(key)
        except IndexError:
            self._refuse_closed()
        except Exception as error:
            _raise_read_error(error)
        return value

    def scan(
        self,
        cf: ColumnFamily,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int = 0,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of ``[start, end)``; a scan that ends without an error is complete."""
        if self._closed:
            self._refuse_closed()
        # Made here, not at the first step: the scan shows the moment of the call.
        return _walk(self._tables[cf].iter(), start, end, limit, reverse=reverse)

    def view(self, *families: ColumnFamily) -> _RocksView:
        """Return ``families`` as they are now: all iterators are made between two writes."""
        if self._closed:
            self._refuse_closed()
        view = _RocksView({family: self._tables[family].iter() for family in families})
        self._views.add(view)
        return view

    # -- writes ----------------------------------------------------------------------------------

    def new_batch(self) -> Batch:
        """Return an empty batch."""
        return RocksBatch(self._handles)

    def write(self, batch: Batch) -> None:
        """Apply ``batch`` and journal it without waiting for the disk."""
        raw = self._to_write(batch)
        try:
            with self._numbers:
                self._db.write(raw)
        except Exception as error:
            self._latch("write", error)

    def _to_write(self, batch: Batch) -> rocksdict.WriteBatch:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            self._refuse_closed()
        if not isinstance(batch, RocksBatch):
            raise TypeError(f"a batch of another store: {type(batch).__name__}")
        return batch.raw

    def write_ahead(self, batch: Batch) -> None:
        """Apply ``batch`` without journaling it; only ``flush_family`` makes it durable."""
        raw = self._to_write(batch)
        try:
            with self._numbers:
                newest = self._db.latest_sequence_number()
                if newest != self._ahead_end:
                    self._journaled = newest
                self._db.write(raw, self._past_journal)
                self._ahead_end = self._db.latest_sequence_number()
        except Exception as error:
            self._latch("write", error)

    def flush_family(self, cf: ColumnFamily) -> None:
        """Write the family's memtables to table files; the GIL is free while it waits."""
        if self._failure is not None:
            raise self._failure
        if self._closed:
            self._refuse_closed()
        try:
            self._tables[cf].flush(True)
        except Exception as error:
            self._latch("flush", error)

    def sync(self) -> None:
        """Make durable all that was written before; the GIL is free while it waits."""
        if self._failure is not None:
            raise self._failure
        if self._closed:
            self._refuse_closed()
        try:
            self._db.flush_wal(True)
        except Exception as error:
            self._latch("sync", error)

    def flush(self) -> None:
        """Write all memtables to table files."""
        if self._failure is not None:
            raise self._failure
        try:
            for table in self._tables:
                table.flush(True)
        except Exception as error:
            self._latch("flush", error)

    def compact(self, cf: ColumnFamily, start: bytes | None, end: bytes | None) -> None:
        """Rewrite the tables of the range without what was deleted. Releases the GIL."""
        if self._failure is not None:
            raise self._failure
        try:
            self._tables[cf].compact_range(start, end)
        except Exception as error:
            self._latch("compaction", error)

    def checkpoint(self, path: str) -> None:
        """Make a consistent copy of the database at ``path``: hard links where it can.

        Keeps the GIL for its whole time (17 ms for 60 MB): for offline use, not on a live node's
        loop.
        """
        try:
            rocksdict.Checkpoint(self._db).create_checkpoint(path)
        except Exception as error:
            self._latch("checkpoint", error)

    # -- side files ------------------------------------------------------------------------------

    def side_read(self, name: str) -> bytes | None:
        """Return ``<data_dir>/<name>.json``, or None."""
        try:
            return (self._dir / f"{name}.json").read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _raise_read_error(error)

    def side_write(self, name: str, data: bytes) -> None:
        """Replace ``<data_dir>/<name>.json`` atomically and durably."""
        if self._failure is not None:
            raise self._failure
        if self._read_only:
            raise StoreWriteError("the store is open for reading only; nothing was written")
        try:
            _write_file(self._dir, name, data)
        except OSError as error:
            self._latch(f"write of {name}.json", error)

    def side_delete(self, name: str) -> None:
        """Remove ``<data_dir>/<name>.json``, durably."""
        if self._failure is not None:
            raise self._failure
        try:
            (self._dir / f"{name}.json").unlink(missing_ok=True)
            _sync_dir(self._dir)
        except OSError as error:
            self._latch(f"removal of {name}.json", error)

    # -- the rest --------------------------------------------------------------------------------

    @property
    def data_dir(self) -> Path:
        """The directory given at opening."""
        return self._dir

    @property
    def recovered(self) -> Position:
        """How far the journal reached at opening; ``wal`` is the newest file that was there."""
        return self._recovered

    def position(self) -> Position:
        """Return the newest sequence number in the journal, and the newest journal file."""
        if self._closed:
            self._refuse_closed()
        with self._numbers:
            newest = self._db.latest_sequence_number()
            if newest == self._ahead_end:
                newest = self._journaled
        return Position(newest, self._newest_wal())

    @property
    def failure(self) -> StoreWriteError | None:
        """The latched write error, if one happened."""
        return self._failure

    def disk_usage(self) -> int:
        """Return the bytes allocated to all files under the data directory.

        What it was before, if there is no descriptor left to look: this is no write or read of the
        data, and no reason to stop.
        """
        total = 0
        pending = [str(self._dir)]
        while pending:
            try:
                with os.scandir(pending.pop()) as found:
                    for item in found:
                        # Compactions remove files while we look.
                        with contextlib.suppress(FileNotFoundError):
                            if item.is_dir(follow_symlinks=False):
                                pending.append(item.path)
                            else:
                                total += item.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            except OSError:
                return self._usage
        self._usage = total
        return total

    def free_bytes(self) -> int:
        """Return the bytes an unprivileged process may still write to this file system."""
        found = os.statvfs(self._dir)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Sync and close; the lock is let go last. A second call does nothing."""
        if self._closed:
            return
        try:
            if self._failure is None and not self._read_only:
                self.sync()
        finally:
            self._closed = True
            # Handles and iterators keep the database open, also those that batches and views share.
            self._tables.clear()
            self._handles.clear()
            for view in list(self._views):
                view.close()
            try:
                self._db.close()
            except Exception as error:
                # After a failed write RocksDB repeats its error here; that one is known already.
                if self._failure is None:
                    self._latch("close", error)
            finally:
                if self._lock is not None:
                    self._lock.release()

    def _newest_wal(self) -> int:
        newest = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._db_path) as found:
            for item in found:
                match = _WAL_NAME.fullmatch(item.name)
                if match:
                    newest = max(newest, int(match.group(1)))
        return newest

    def _latch(self, what: str, error: Exception) -> NoReturn:
        self._failure = StoreWriteError(
            f"a {what} failed ({error}); whether it took effect is unknown, so the node must stop;"
            " repair the disk or free space on it, then start the node again"
        )
        raise self._failure from error

    def _refuse_closed(self) -> NoReturn:
        raise StoreClosed(f"the store in {self._dir} is closed; open it again")


def _walk(
    iterator: rocksdict.RdictIter, start: bytes, end: bytes | None, limit: int, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    count = 0
    try:
        if not reverse:
            iterator.seek(start)
        elif end is None:
            iterator.seek_to_last()
        else:
            iterator.seek_for_prev(end)
            if iterator.valid() and iterator.key() == end:
                iterator.prev()
        step = iterator.prev if reverse else iterator.next
        while iterator.valid():
            key: bytes = iterator.key()
            if key < start if reverse else end is not None and key >= end:
                return
            yield key, iterator.value()
            count += 1
            if count == limit:
                return
            step()
        # Without this question a damaged block would look like the end.
        iterator.status()
    except StoreError:
        raise
    except Exception as error:
        _raise_read_error(error)


def _options(
    tuning: RocksTuning, family: ColumnFamily | None, *, create: bool
) -> rocksdict.Options:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create)
    options.create_missing_column_families(create)
    # The default mode ends silently at a damaged record in the middle of the journal and forgets
    # what was acknowledged behind it. This one accepts a torn last record, which a crash leaves,
    # nothing else.
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_paranoid_checks(True)
    options.set_max_open_files(tuning.open_files_max)
    options.set_max_background_jobs(tuning.background_jobs)
    options.set_max_total_wal_size(tuning.wal_bytes_max)
    options.set_db_write_buffer_size(tuning.total_buffer_bytes)
    options.set_bytes_per_sync(MIB)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(MIB)
    options.set_max_manifest_file_size(4 * MIB)
    options.set_skip_stats_update_on_db_open(True)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_is_fd_close_on_exec(True)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_level_compaction_dynamic_level_bytes(True)
    # A stalled write would stop the node's loop, with the GIL held: let level 0 grow first.
    options.set_level_zero_file_num_compaction_trigger(4)
    options.set_level_zero_slowdown_writes_trigger(40)
    options.set_level_zero_stop_writes_trigger(80)
    options.set_max_write_buffer_number(3)
    if family is ColumnFamily.LOG:
        options.set_write_buffer_size(tuning.log_buffer_bytes)
        options.set_max_bytes_for_level_base(64 * MIB)
        options.set_target_file_size_base(8 * MIB)
    elif family is ColumnFamily.STATE:
        options.set_write_buffer_size(tuning.state_buffer_bytes)
        options.set_max_bytes_for_level_base(64 * MIB)
        options.set_target_file_size_base(16 * MIB)
    else:
        options.set_write_buffer_size(tuning.small_buffer_bytes)
        options.set_max_bytes_for_level_base(16 * MIB)
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(_cache(tuning))
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_block_size(8 * KIB)
    if family in (ColumnFamily.STATE, ColumnFamily.SESSIONS):
        # Most lookups by a client's key, and those of new keys, find nothing: spare them the disk.
        table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


def _cache(tuning: RocksTuning) -> rocksdict.Cache:
    return rocksdict.Cache(tuning.cache_bytes // (len(ColumnFamily) + 1))


def _write_file(directory: Path, name: str, data: bytes) -> None:
    """Replace ``<directory>/<name>.json``: temporary file, fsync, rename, fsync of the folder."""
    temporary = directory / f".{name}.tmp"
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(directory / f"{name}.json")
    _sync_dir(directory)


def _sync_dir(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _raise_read_error(error: Exception) -> NoReturn:
    text = str(error)
    if "orruption" in text or "checksum" in text:
        raise CorruptionError(
            f"the store returned damaged data ({text}); this node must not vote or serve;"
            " remove it from the group and add it again under a new id"
        ) from error
    raise StoreReadError(
        f"a read from the store failed ({text}); the node cannot go on; check the disk and the"
        " limit of open files, then start it again"
    ) from error


def _raise_open_error(error: Exception, path: str) -> NoReturn:
    text = str(error)
    lowered = text.lower()
    if "lock" in lowered and ("unavailable" in lowered or "no locks available" in lowered):
        raise LockedError(path, None) from error
    if "no space" in lowered or "too many open files" in lowered or "permission" in lowered:
        raise StoreReadError(
            f"the database in {path} cannot be opened ({text}); nothing was changed; free space,"
            " raise the limit of open files or correct the permissions, then start the node again"
        ) from error
    raise CorruptionError(
        f"the database in {path} cannot be opened ({text}); files are missing or damaged; this"
        " node must not vote or serve; remove it from the group and add it again under a new id"
    ) from error
