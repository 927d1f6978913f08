"""Which group a store was made for, as its operator called it: `--cluster-token`.

The id of a group says nothing about its token once its members have changed, and a store that was
restored or joined has no other mark of it. So the first start with a token leaves its hash in the
store, and a start with another one is taken for what it most likely is: the wrong data directory.
"""

import hashlib
from typing import Final

from raftd import keys
from raftd.identity import WrongCluster
from raftd.kvstore import ColumnFamily, KeyValueStore

_META: Final = ColumnFamily.META


def check_token(kv: KeyValueStore, token: str) -> None:
    """Compare a store with the token its node was started with; remember the first one.

    Args:
        kv: The store; what is written is not flushed: what a crash loses is written again.
        token: Empty: none was given, and nothing is compared.

    Raises:
        WrongCluster: The store was started with another token before.
        CorruptionError: What was remembered is damaged.
    """
    if not token:
        return
    mark = hashlib.sha256(f"raftd token\n{token}".encode()).digest()
    sealed = kv.get(_META, keys.TOKEN)
    if sealed is None:
        batch = kv.new_batch()
        batch.put(_META, keys.TOKEN, keys.seal(mark))
        kv.write(batch)
    elif keys.unseal(sealed, "the mark of the group's token") != mark:
        raise WrongCluster(
            "this store belongs to a group with another --cluster-token; its entries mean nothing"
            " in the group of this one; give the --data-dir of that group, or leave the token out"
            " if it is the token that is wrong"
        )
