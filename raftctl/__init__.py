"""raftctl: the command line over raftd's admin socket."""
