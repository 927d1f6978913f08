"""Benchmarks: `python -m tests.bench`, beside etcd where it is installed; see README.md here."""
