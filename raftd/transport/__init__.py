"""The network between the members of a group."""
