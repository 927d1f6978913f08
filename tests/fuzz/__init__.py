"""Damaged bytes for whatever reads bytes: each target says what may come of them, and no more."""
