"""Every bound of the wire and of the queues behind it, in one place, with its unit.

A bound that can be configured names its default here. Each has a named refusal: what exceeds it is
answered with an error code (``raftwire.errors``) or closes the connection with a reason.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# ---- frames between peers ------------------------------------------------------------------------

#: Largest frame between peers, without its length, bytes. Longer: the connection is closed.
PEER_FRAME_BYTES_MAX: Final = 8 * MIB
#: Largest first frame of a connection, bytes; read before anything is known of the other side.
HELLO_BYTES_MAX: Final = 1 * KIB
#: Largest answer to a hello, bytes: it may carry the addresses of every member.
HELLO_REPLY_BYTES_MAX: Final = 64 * KIB
#: How long the first frame may take to arrive, milliseconds.
HELLO_TIMEOUT_MS: Final = 5_000
#: How long the rest of a frame may take once its first byte is here, milliseconds.
FRAME_TIMEOUT_MS: Final = 10_000
#: Connections that have not said a valid hello, over all of a node.
UNAUTHENTICATED_CONNECTIONS_MAX: Final = 64
#: Accepted connections from peers.
PEER_CONNECTIONS_MAX: Final = 256
#: Raft messages in one frame.
MESSAGES_PER_FRAME_MAX: Final = 4_096
#: Entries in one frame, over all its messages: an empty one costs more memory than its two bytes.
ENTRIES_PER_FRAME_MAX: Final = 4_096
#: Bytes received and not yet handled, over all peer connections; beyond it reading pauses.
INBOUND_BYTES_MAX: Final = 128 * MIB
#: Bytes waiting to be sent to one peer; beyond it messages are dropped, which Raft repairs.
PEER_QUEUE_BYTES_MAX: Final = 64 * MIB
#: Bad messages after which a peer's connection is closed with a growing delay before the next.
STRIKES_MAX: Final = 3

# ---- entries and proposals -----------------------------------------------------------------------

#: Largest proposal, bytes of data. Refused with TOO_LARGE.
ENTRY_BYTES_MAX: Final = 1 * MIB
#: Bytes of an entry's context: origin and key.
CONTEXT_BYTES_MAX: Final = 1 * KIB
#: Longest idempotency key, bytes of UTF-8.
KEY_BYTES_MAX: Final = 256
#: Proposals a node has accepted and not answered. Refused with OVERLOADED.
PENDING_PROPOSALS_MAX: Final = 10_000
#: Bytes appended by a leader and not committed. Refused with OVERLOADED.
UNCOMMITTED_BYTES_MAX: Final = 64 * MIB
#: Idempotency keys remembered; the oldest are forgotten.
SESSION_KEYS_MAX: Final = 100_000

# ---- snapshots -----------------------------------------------------------------------------------

#: Largest piece of a snapshot in one frame, bytes of data.
SNAPSHOT_CHUNK_BYTES_MAX: Final = 1 * MIB
#: Largest snapshot a node accepts, bytes.
SNAPSHOT_BYTES_MAX: Final = 64 * 1024 * MIB
#: Snapshot transfers received at once.
SNAPSHOT_TRANSFERS_MAX: Final = 1

# ---- admin socket --------------------------------------------------------------------------------

#: Largest admin request that proposes nothing, bytes.
ADMIN_REQUEST_BYTES_MAX: Final = 64 * KIB
#: Largest frame a client ever sends, bytes: no configuration of a node takes more. A node's limit
#: is its largest entry and ADMIN_REQUEST_BYTES_MAX; it answers a longer frame with TOO_LARGE, in a
#: Response with id 0, and closes the connection.
ADMIN_FRAME_BYTES_MAX: Final = PEER_FRAME_BYTES_MAX
#: Largest frame a node answers with, bytes; larger answers are paged or streamed.
ADMIN_RESPONSE_BYTES_MAX: Final = PEER_FRAME_BYTES_MAX + ADMIN_REQUEST_BYTES_MAX
#: Accepted admin connections. Refused with OVERLOADED.
ADMIN_CONNECTIONS_MAX: Final = 1_024
#: Requests of one admin connection that are not answered yet; beyond it reading pauses.
ADMIN_PIPELINE_MAX: Final = 4_096
#: Connections waiting to be accepted (listen backlog).
ADMIN_BACKLOG: Final = 1_024
#: How long a request may take when the client does not say, milliseconds.
REQUEST_TIMEOUT_MS: Final = 5_000
#: Longest deadline a client may ask for, milliseconds.
REQUEST_TIMEOUT_MS_MAX: Final = 3_600_000
#: Longest path of a Unix socket, bytes (Linux: 108 with the closing NUL).
SOCKET_PATH_BYTES_MAX: Final = 107

# ---- ids -----------------------------------------------------------------------------------------

#: Largest id, index and term: the largest integer that JSON in every language holds exactly.
NUMBER_MAX: Final = 2**53 - 1
#: Bytes of a cluster id.
CLUSTER_ID_BYTES: Final = 16
#: Longest host:port, bytes.
ADDR_BYTES_MAX: Final = 262
#: Members of a group, voters and learners of both configurations together.
MEMBERS_MAX: Final = 64
#: Entries behind the leader at which a learner still counts as caught up, and may be promoted: what
#: a busy group appends in a fraction of a second. Much fewer are in flight to any follower under
#: full load, which would then never count; much more would hold up the commits that wait for it.
CAUGHT_UP_LAG_MAX: Final = 1_000
