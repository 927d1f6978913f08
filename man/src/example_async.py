"""A thousand proposals at once, and a reader that follows the log behind them.

python example_async.py /run/raftd/1.sock /run/raftd/2.sock /run/raftd/3.sock
"""

import asyncio
import sys

from raftwire import AdminError, AsyncClient
from raftwire.admin import new_key

COUNT = 1000


async def follow(client: AsyncClient, wanted: set[bytes]) -> int:
    """Read applied proposals until all that are wanted have been seen."""
    seen = 0
    async for entry in client.log_read(types=["normal"], follow=True, applied=True):
        seen += 1
        wanted.discard(entry.data)
        if not wanted:
            break
    return seen


async def propose(client: AsyncClient, data: bytes) -> bool:
    """Propose with a key; say whether it is applied."""
    try:
        await client.propose(data, key=new_key())
    except AdminError as error:
        print(f"{data!r}: {error} ({error.outcome})", file=sys.stderr)
        return False
    return True


async def main(*sockets: str) -> None:
    """Propose, follow, and compare."""
    names = [b"event %d" % number for number in range(COUNT)]
    # The reader has a client of its own: a client keeps to one socket.
    async with AsyncClient(*sockets) as writer, AsyncClient(*sockets) as reader:
        reading = asyncio.create_task(follow(reader, set(names)))
        answers = await asyncio.gather(*(propose(writer, name) for name in names))
        print(f"{sum(answers)} of {COUNT} applied")
        if all(answers):
            print(f"{await reading} read back")
        else:
            reading.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
