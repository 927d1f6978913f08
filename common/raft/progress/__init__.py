"""How far the followers are, and what a majority of them agrees on."""

from raft.progress.configuration import Configuration
from raft.progress.inflights import Inflights
from raft.progress.progress import Progress, ProgressState
from raft.progress.progress_set import ProgressSet
from raft.progress.quorum import CandidacyStatus

__all__ = [
    "CandidacyStatus",
    "Configuration",
    "Inflights",
    "Progress",
    "ProgressSet",
    "ProgressState",
]
