"""A fixed picture embedding without any learned part: where colours are, and which way edges run.

The vector of a picture is two unit vectors side by side: the mean colour of
each of 8 x 8 cells, as distance from white, and a histogram of edge directions
(9 unsigned directions, 8 x 8 cells of 8 px of the 64 px grey picture, each
2 x 2 block of cells brought to unit length).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.starter.data import Pixels

Vectors = npt.NDArray[np.float32]


def embed(pictures: Pixels) -> Vectors:
    """Vectors (n, 2496) of pictures (n, h, w, 3); the dot product of two is at most 2."""
    return np.stack([np.concatenate([_colours(p), _edges(p)]) for p in pictures])


def ranks(drawn: Vectors, known: Vectors, names: list[str], wanted: list[str]) -> list[int]:
    """For each drawn picture the place (0 is nearest) of the first known one of its name."""
    order = np.argsort(-(drawn @ known.T), axis=1, kind="stable")
    labels = np.array(names)
    return [
        int(np.flatnonzero(labels[row] == name)[0]) for row, name in zip(order, wanted, strict=True)
    ]


def _unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(vector / (np.linalg.norm(vector) + 1e-6), dtype=np.float32)


def _colours(picture: Pixels) -> npt.NDArray[np.float32]:
    small = Image.fromarray(picture).resize((8, 8), Image.Resampling.BOX)
    return _unit((1 - np.asarray(small, dtype=np.float32).ravel() / 255).astype(np.float32))


def _edges(picture: Pixels) -> npt.NDArray[np.float32]:
    grey = Image.fromarray(picture).convert("L").resize((64, 64), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32) / 255
    down, right = np.gradient(values)
    strength = np.hypot(down, right)
    direction = (np.arctan2(down, right) % np.pi) / np.pi * 9
    cells = np.zeros((8, 8, 9), dtype=np.float32)
    rows, columns = np.indices(values.shape) // 8
    low = np.floor(direction).astype(int)
    part = direction - low
    np.add.at(cells, (rows, columns, low % 9), strength * (1 - part))
    np.add.at(cells, (rows, columns, (low + 1) % 9), strength * part)
    blocks = [cells[y : y + 2, x : x + 2].ravel() for y in range(7) for x in range(7)]
    return _unit(np.concatenate([b / np.float32(np.sqrt((b**2).sum() + 0.01)) for b in blocks]))
