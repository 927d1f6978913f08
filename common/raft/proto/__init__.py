"""Generated protobuf code; import it through `raft.eraftpb`."""
