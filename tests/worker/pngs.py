"""A picture as PNG bytes, as somebody's upload is stored."""

from __future__ import annotations

from PIL import Image

from moderation.marks.marker import as_png


def encode_png(image: Image.Image) -> bytes:
    """Lossless, without marks."""
    return as_png(image, None)[0]
