"""House rules as tests: what no review should have to look for."""
