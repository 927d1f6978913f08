"""raftctl against a made-up node, and against real ones."""
