"""Whole stories of a change of membership, with every loop an application may drive its node by."""

from __future__ import annotations

from raft import Config, MemStorage, RawNode


def test_entries_are_never_stored_without_the_commit_index_that_was_known() -> None:
    """An application may leave the commit index of a LightReady unwritten until it writes anyway.

    Whoever holds a Finalize on its disk must know there that Begin is committed. A leader that
    learned so from a LightReady alone, stored the Finalize and lost its power would campaign by the
    configuration from before Begin, beside a leader of C_new (found by the search, "replays").
    """
    storage = MemStorage.new_with_conf_state(([1], []))
    node = RawNode(Config(id=1, applied=1), storage)
    node.campaign()
    while node.has_ready():
        rd = node.ready()
        storage.wl().append(rd.entries)
        node.advance_append(rd)
    node.propose(b"", b"first")
    rd = node.ready()
    storage.wl().append(rd.entries)
    light = node.advance_append(rd)
    assert light.commit_index == 3
    assert not node.has_ready()  # It is not worth a write of its own.
    node.propose(b"", b"second")
    rd = node.ready()
    assert [entry.index for entry in rd.entries] == [4]
    assert rd.hs is not None
    assert rd.hs.commit == 3
    storage.wl().append(rd.entries)
    node.advance_append(rd)
    node.propose(b"", b"third")
    rd = node.ready()
    assert rd.hs is not None
    assert rd.hs.commit == 4
