"""One file a kind of spec."""
