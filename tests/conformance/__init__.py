"""What the library does, by concern."""
