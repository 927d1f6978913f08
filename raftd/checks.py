"""What only shows when the files and names that the settings speak of are looked at."""

import grp
import os
from pathlib import Path

from raftd.config import DaemonConfig
from raftd.transport.security import SecurityError, load


def check_environment(config: DaemonConfig) -> list[str]:
    """Return what is wrong with the surroundings that ``config`` needs, a line each."""
    problems = _check_places(config)
    if config.tls:
        try:
            load(config, 0)
        except SecurityError as error:
            problems.append(str(error))
    for flag, name in (
        ("--admin-group", config.admin_group),
        ("--admin-readonly-group", config.admin_readonly_group),
    ):
        if name is not None and group_id(name) is None:
            problems.append(f"{flag}: there is no group {name} on this host")
    return problems


def group_id(name: str) -> int | None:
    """Return the number of a group given by name or number; None if there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isascii() and name.isdigit() else None


def _check_places(config: DaemonConfig) -> list[str]:
    problems = []
    directory = Path(os.path.abspath(config.data_dir))
    if directory.exists():
        if not directory.is_dir():
            problems.append(f"--data-dir {directory} is not a directory")
        elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            problems.append(f"--data-dir {directory} may not be read and written by this user")
    elif config.bootstrap == "never":
        problems.append(
            f"--data-dir {directory} does not exist, and --bootstrap never makes nothing: "
            "is it the right one? is its disk mounted?"
        )
    else:
        parent = next(p for p in directory.parents if p.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            problems.append(f"--data-dir {directory} cannot be made: {parent} is not writable")
    if config.log_file is not None and not os.access(config.log_file.parent, os.W_OK | os.X_OK):
        problems.append(f"--log-file: {config.log_file.parent} is not a directory to write to")
    return problems
