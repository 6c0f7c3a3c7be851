"""Sheets of pictures, and the loss curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor


def save_sheet(
    pictures: Tensor, path: Path, columns: int = 10, captions: Sequence[str] = ()
) -> None:
    """Save pictures (n, 3, h, w) in 0 to 1 as one PNG, `columns` to a row, captions below."""
    count, _, height, width = pictures.shape
    line = 12 if captions else 0
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + line)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = index % columns * width, index // columns * (height + line)
        array = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        sheet.paste(Image.fromarray(array), (x, y))
        if captions:
            pen.text((x + 3, y + height), captions[index][:21], fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(path, optimize=True)  # a third of the bytes, looks the same


def save_curve(points: Sequence[tuple[int, float, float]], path: Path) -> None:
    """Draw the loss (third of each point) over samples seen (first) as a PNG."""
    size, edge = (900, 420), 50
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    samples = np.array([point[0] for point in points], dtype=float)
    loss = np.log10(np.array([point[2] for point in points], dtype=float))
    low, high = float(loss.min()), float(loss[len(loss) // 50 :].max())
    xs = edge + samples / samples.max() * (size[0] - 2 * edge)
    ys = size[1] - edge - (np.minimum(loss, high) - low) / (high - low) * (size[1] - 2 * edge)
    for value in np.linspace(low, high, 6):
        y = size[1] - edge - (value - low) / (high - low) * (size[1] - 2 * edge)
        pen.line([(edge, y), (size[0] - edge, y)], fill="#dddddd")
        pen.text((8, y - 6), f"{10**value:.3f}", fill="#444444")
    for part in range(5):
        x = edge + part / 4 * (size[0] - 2 * edge)
        pen.text(
            (x - 18, size[1] - edge + 8), f"{samples.max() * part / 4 / 1000:.0f} k", "#444444"
        )
    pen.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill="#2563eb", width=2)
    pen.text((edge, 14), "velocity loss (log scale) over training pictures seen", fill="#111111")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
