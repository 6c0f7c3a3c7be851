"""The embedded starter models: what they are, how they were made, how to load them."""
