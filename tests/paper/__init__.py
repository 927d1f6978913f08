"""The Raft paper, a test a sentence."""
