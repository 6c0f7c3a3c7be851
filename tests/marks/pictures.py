"""Pictures for the tests of marks, made of sums of waves and shapes; the same every time."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw


def photo(width: int = 320, height: int = 256, seed: int = 0) -> Image.Image:
    """Smooth colours with fine detail on top, as photographs have."""
    rng = np.random.default_rng(seed)
    whole = np.full((height, width, 3), 128.0)
    for cells in (4, 8, 16, 32, 64, 128):
        for channel in range(3):
            coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32), "F")
            fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
            whole[..., channel] += fine * 60 / np.sqrt(cells)
    return Image.fromarray(np.clip(whole, 0, 255).astype(np.uint8), "RGB")


def icon(seed: int = 0, side: int = 128) -> Image.Image:
    """Flat shapes on white: the hardest case for a watermark, and what the starter model draws."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side * 4, side * 4), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, w, h = (int(v) for v in rng.integers(20, side * 2, size=4))
        colour = tuple(int(v) for v in rng.integers(0, 256, size=3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=colour)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def again(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """The picture after it went through a file of this kind."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, **options)  # type: ignore[arg-type]
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    opened.load()
    return opened


def psnr(one: Image.Image, two: Image.Image) -> float:
    """Peak signal-to-noise ratio of two pictures of one size, in decibels."""
    a, b = (np.asarray(i.convert("RGB"), dtype=np.float64) for i in (one, two))
    error = float(((a - b) ** 2).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))
