"""Marks on what was made: a signed manifest, a watermark, metadata and a visible label."""
