"""Orders in a key-value cluster: each is counted once, whatever fails on the way.

python example_blocking.py /run/raftd/1.sock /run/raftd/2.sock /run/raftd/3.sock
"""

import sys
import uuid

from raftwire import AdminError, Client
from raftwire.errors import Outcome


def add(client: Client, counter: str, amount: int) -> int:
    """Add to a counter; return its new value. Others may add at the same time."""
    while True:
        found = client.kv.get(counter)
        before = int(found.value) if found else 0
        after = before + amount
        done = client.kv.cas(
            counter,
            str(after),
            expect_absent=found is None,
            expect_revision=found.mod_revision if found else None,
            # With a key it is sent again, through any socket, until it is
            # answered, and is applied once all the same.
            idempotency_key=uuid.uuid4().hex,
        )
        if done.succeeded:
            return after


def main(*sockets: str) -> None:
    """Count an order, and show who answered."""
    with Client(*sockets, timeout=10.0) as client:
        try:
            print("orders:", add(client, "orders", 1))
        except AdminError as error:
            if error.outcome is Outcome.UNKNOWN:
                # Ten seconds of trying have not told. It may be counted.
                print("nobody knows:", error, file=sys.stderr)
            else:
                # Certain: it is not counted, and never will be.
                print("not counted:", error, error.hint, file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        status = client.status()
        print(f"node {status.id} answered, node {status.leader} leads")
        for pair in client.kv.range("ord"):
            print(pair.key.decode(), "=", pair.value.decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
