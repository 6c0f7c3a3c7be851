"""Judges: stages find flags, a policy turns them into one verdict, people review."""
