"""Reading the settings again while the daemon runs: what changes at once, and what cannot."""

from collections.abc import Callable

from raftd import log as logging
from raftd.config import Adopted, ConfigError, DaemonConfig, load
from raftd.log import Log

Step = Callable[[], None]
"""Carries a change into a part that keeps a copy; raises OSError or ValueError if it cannot."""


class Reloader:
    """Takes over new settings.

    Args:
        config: The settings in force; changed in place.
        log: Where the outcome is told, to whoever cannot be told otherwise.
    """

    def __init__(self, config: DaemonConfig, log: Log) -> None:
        self._config = config
        self._log = log
        self.steps: list[Step] = []
        """Carried out after every reload, also when no setting has changed: files may have."""

    def reload(self) -> Adopted:
        """Read the settings from where they came from, and take over what may change.

        The command line and the environment are those of the start; only the file can say
        something new.

        Raises:
            ConfigError: The settings are wrong, or could not be carried out in a part; in the
                first case nothing has changed.
        """
        sources = self._config.sources
        try:
            found = load(sources.flags, sources.environ, sources.file)
        except ConfigError as error:
            self._log.error("settings not reloaded", reason=str(error))
            raise
        adopted = self._config.adopt(found)
        problems = []
        for step in (self._logging, *self.steps):
            try:
                step()
            except (OSError, ValueError) as error:
                problems.append(str(error))
        self._log.info("settings reloaded", changed=adopted.changed)
        if adopted.needs_restart:
            self._log.warning("settings need a restart", keys=adopted.needs_restart)
        if problems:
            self._log.error("settings not reloaded", reason="; ".join(problems))
            raise ConfigError(*problems)
        return adopted

    def _logging(self) -> None:
        logging.set_level(self._config.log_level)
        logging.reopen(self._config.log_file)
