"""Discord: interactions in, cards out. Translates only; every command is defined in the core."""
