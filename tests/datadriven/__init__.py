"""Scenarios told as text files."""
