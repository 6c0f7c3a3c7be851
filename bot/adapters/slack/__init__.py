"""Slack: Bolt listeners in, Block Kit replies out."""
