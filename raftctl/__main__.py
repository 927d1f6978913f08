"""Runs raftctl as ``python -m raftctl``."""

from raftctl.cli import main

if __name__ == "__main__":
    main()
