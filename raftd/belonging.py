"""Whether this node is still in its group, when its own log can no longer tell.

A member learns of every change of membership from the log. Who is left out by one may be down or
cut off when it happens, and nobody sends it entries afterwards: by its own log it would be a member
for ever, and campaign for ever. So members answer the hello of a node that is not in their
configuration with that configuration, and turn an id away that has left for good. What they say is
committed, and newer than what this node has applied, or it is not listened to.
"""

from typing import Final

from raft import ProgressSet
from raft.eraftpb import ConfState
from raftd.log import Log

REMOVED: Final = "removed from the group"


class Belonging:
    """What others have said about this node's place in the group.

    Attributes:
        expelled: A member has turned this node away as one that has left. That is for good.
        told: A later configuration than this node has applied, which does not hold it. None: nobody
            knows of one, or it has been applied here meanwhile.
    """

    def __init__(self, node_id: int, log: Log) -> None:
        self._node_id = node_id
        self._log = log
        self.expelled = False
        self.told: ConfState | None = None

    @property
    def aside(self) -> bool:
        """Whether this node has no part in its group any more, or for now."""
        return self.expelled or self.told is not None

    def turned_away(self, prs: ProgressSet, config: ConfState | None) -> bool:
        """Take a member's word that this node has left for good; return whether that is news.

        Args:
            prs: What this node has applied.
            config: The configuration in force there; None: it did not say.
        """
        if config is not None and self._is_later(prs, config):
            self.told = config
        news, self.expelled = not self.expelled, True
        if news:
            self._log.warning(REMOVED, advice="stop this node; its data may be deleted")
        return news

    def left_out(self, prs: ProgressSet, config: ConfState) -> bool:
        """Take a member's word that this node is not in its configuration; return if that is news.

        Who waits to be added is in no configuration, and knows that by itself.
        """
        if self._node_id not in prs.ids() or not self._is_later(prs, config):
            return False
        self.told = config
        self._log.warning(
            "left out of the group",
            voters=sorted(config.voters),
            index=config.config_index,
            advice="its change was taken back, or came to an end without this node; add it again",
        )
        return True

    def _is_later(self, prs: ProgressSet, config: ConfState) -> bool:
        known = max(prs.config_index, self.told.config_index if self.told is not None else 0)
        return config.config_index > known

    def applied(self, prs: ProgressSet) -> None:
        """This node has applied a change: it may have caught up with what it was told."""
        if self.told is not None and prs.config_index >= self.told.config_index:
            self.told = None
