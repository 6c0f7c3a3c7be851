"""Tests, by room; helpers every room may use are in conftest.py."""
