"""Text heads that work offline: how they are trained, stored and read."""
