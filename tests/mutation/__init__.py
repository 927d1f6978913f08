"""Generic mutation of the core: small changes anywhere, each of which a test should notice."""
