"""raftctl, a file a module."""
