"""Planted bugs: which check catches each, and at which seed."""
