"""Talks to people: commands, adapters, delivery and the `atelier` command line."""
