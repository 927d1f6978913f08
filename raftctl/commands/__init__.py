"""The subcommands, one module a subject; each is imported only when it is used."""
