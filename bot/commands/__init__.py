"""The commands, one file a family, each defined once."""
