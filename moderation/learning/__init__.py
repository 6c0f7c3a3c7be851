"""Heads that learn from one workspace's decisions, beside the shipped ones and never instead.

``split`` parts the labels, ``fit`` makes the numbers, ``attempt`` decides whether they are better
and hold the public gate, ``keep`` speaks with the database.
"""
