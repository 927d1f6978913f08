"""Exhaustive search over the real core: every order of a few events, as deep as a budget reaches.

It is not part of the simulation, which runs the whole daemon along random paths for long; here the
library alone takes every path, each of them short. How it works, from the inside out:

`server`    one node: a `RawNode`, an honest disk, and what can happen to it
`copying`   copies a node, and tells whether two nodes are in the same state
`model`     states of nodes and messages as numbers; what an event makes of one, computed once
`judge`     the promises: what must hold in every state and at every step
`group`     the whole group, its network, and setting it where a search starts
`explore`   breadth first over its states, and the shortest way to a violation
`scenarios` what is searched: groups, changes, faults, and where to start
`mutants`   which planted bugs it must find, and where it looks for them

``make search`` runs all of it, ``make search-mutants`` shows that it finds what is broken.
"""
