"""``python -m raftd`` is ``raftd``."""

from raftd.cli import main

if __name__ == "__main__":
    main()
