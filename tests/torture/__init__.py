"""Real daemons under real faults, driven by clients whose every operation is written down."""
