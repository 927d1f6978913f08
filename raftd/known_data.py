"""Which disk each member's id stands for: data that was lost and made anew is not let in.

A voter that comes back with an empty disk has forgotten whom it voted for and what it has
acknowledged. Under its old id it could vote twice in a term, and an entry that a majority held
would be held by fewer. So every node remembers, for each member, when its data was made, as the
member said in its first hello, and refuses whoever comes with other data under that id.
"""

from collections.abc import Mapping
from typing import Final

from raftd import keys
from raftd.identity import decode_json, encode_json
from raftd.kvstore import ColumnFamily, KeyValueStore

_META: Final = ColumnFamily.META


class KnownData:
    """What this node remembers of the others' disks.

    Args:
        kv: Where it is kept. Not flushed: what a crash loses is learned again.

    Raises:
        CorruptionError: what was kept is damaged.
    """

    def __init__(self, kv: KeyValueStore) -> None:
        self._kv = kv
        self._made: dict[int, int] = {}
        sealed = kv.get(_META, keys.KNOWN_DATA)
        if sealed is not None:
            what = "the record of the others' data"
            found = decode_json(keys.unseal(sealed, what), what)
            self._made = {int(node_id): made_ms for node_id, made_ms in found.items()}

    @property
    def made(self) -> Mapping[int, int]:
        """When the data of each id was made, milliseconds since 1970; grows as members are met."""
        return self._made

    def note(self, node_id: int, made_ms: int) -> None:
        """Remember a member's data, unless something is remembered of it already.

        Raises:
            StoreWriteError: Latched; the node must stop.
        """
        if not made_ms or node_id in self._made:
            return
        self._made[node_id] = made_ms
        batch = self._kv.new_batch()
        record = encode_json({str(key): value for key, value in sorted(self._made.items())})
        batch.put(_META, keys.KNOWN_DATA, keys.seal(record))
        self._kv.write(batch)
