"""The built-in state machines, and the bounded history they share."""
