"""Elections: asking for votes and granting them (Raft §5.2, §5.4.1; thesis §9.6, PreVote)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raft.eraftpb import Message, MsgRequestPreVote, MsgRequestVote
from raft.util import vote_resp_msg_type

if TYPE_CHECKING:
    from raft.core import Raft

CAMPAIGN_PRE_ELECTION: Final = b"CampaignPreElection"
CAMPAIGN_ELECTION: Final = b"CampaignElection"
CAMPAIGN_TRANSFER: Final = b"CampaignTransfer"
"""The one that travels: it tells voters to disregard the lease of the leader that hands over."""


def request_votes(raft: Raft[Any], campaign: bytes) -> None:
    """Ask everyone who decides for their vote, for the term of this candidacy."""
    pre = campaign == CAMPAIGN_PRE_ELECTION
    log = raft.raft_log
    commit, commit_term = log.commit_info()
    for to in sorted(raft.prs.deciding_voters()):
        if to == raft.id:
            continue
        raft.msgs.append(
            Message(
                msg_type=MsgRequestPreVote if pre else MsgRequestVote,
                to=to,
                from_=raft.id,
                # Asked for the next term, which a pre-candidate has not entered (thesis §9.6).
                term=raft.term + 1 if pre else raft.term,
                index=log.last_index(),
                log_term=log.last_term(),
                commit=commit,
                commit_term=commit_term,
                priority=raft.priority,
                context=campaign if campaign == CAMPAIGN_TRANSFER else b"",
            )
        )


def grants(raft: Raft[Any], m: Message) -> bool:
    """Whether this node's vote, or the promise of one, goes to the sender of `m`.

    The sender need not be in this node's configuration, nor need this node be a voter there: it
    may lag, and a majority that could be won must not be lost to that (thesis §4.2.3).
    """
    pre = m.msg_type == MsgRequestPreVote
    can_vote = (
        raft.vote == m.from_
        or (raft.vote == 0 and raft.leader_id == 0)
        or (pre and m.term > raft.term)
    )
    log = raft.raft_log
    if not can_vote or not log.is_up_to_date(m.index, m.log_term):
        return False
    return m.index > log.last_index() or raft.priority <= m.priority


def answer_vote(raft: Raft[Any], m: Message, *, granted: bool) -> None:
    """Answer a vote request; a refusal tells how far this log is committed."""
    answer = Message(
        msg_type=vote_resp_msg_type(m.msg_type), to=m.from_, from_=raft.id, reject=not granted
    )
    # The term asked for if granted: the asker is waiting for that one; else our own.
    answer.term = m.term if granted else raft.term
    if not granted:
        answer.commit, answer.commit_term = raft.raft_log.commit_info()
    raft.msgs.append(answer)
