"""A perceptual hash of a picture: 256 bits that change little when the picture does.

After PDQ (Facebook, *The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm*,
2019): the luma shrunk to 64 x 64, its cosine transform's 16 x 16 lowest waves without the
constant ones, each bit "above the median". The shrinking is by area means where the original uses
two passes of a box filter, so hashes are close to other implementations' and not equal to them.

Two pictures count as the same at a distance of up to ``NEAR`` bits. Finds re-posts through JPEG,
grey scale and resizing, and all eight mirrorings and turns; a crop of 5 % per side escapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

NEAR = 31
"""Bits by which a copy may differ (Meta's advice)."""

GOOD = 50
"""Quality, 0 to 100, from which a hash says something; below, the picture is too plain."""

_SIDE, _WAVES = 64, 16


@dataclass(frozen=True, slots=True)
class Pdq:
    """A hash as 64 hexadecimal digits, and how much there was to hash (0 to 100)."""

    digits: str
    quality: int


def pdq(image: Image) -> Pdq:
    """The hash of a picture as it is."""
    return hashes(image)[0]


def hashes(image: Image) -> list[Pdq]:
    """The hashes of the eight mirrorings and turns of a picture, itself first."""
    import numpy as np

    plane = _luma(image)
    quality = _quality(plane)
    waves = _cosines() @ plane @ _cosines().T
    # Mirroring flips the odd waves, which are those of even index here: the constant is left out.
    odd = np.where(np.arange(_WAVES) % 2 == 0, -1.0, 1.0)
    flips = [waves, waves * odd, waves * odd[:, None], waves * odd * odd[:, None]]
    return [Pdq(_digits(w), quality) for w in [*flips, *(flip.T for flip in flips)]]


def distance(one: str, two: str) -> int:
    """In how many of the 256 bits two hashes differ."""
    return (int(one, 16) ^ int(two, 16)).bit_count()


def packed(digits: list[str]) -> NDArray[np.uint8]:
    """Hashes as rows of 32 bytes, for :func:`nearest`."""
    import numpy as np

    return np.frombuffer(b"".join(bytes.fromhex(d) for d in digits), dtype=np.uint8).reshape(-1, 32)


def nearest(bank: NDArray[np.uint8], candidates: list[str]) -> tuple[int, int] | None:
    """``(row, distance)`` of the bank's row that is closest to any candidate; ``None`` if empty."""
    import numpy as np

    if not len(bank):
        return None
    best: tuple[int, int] | None = None
    for candidate in candidates:
        own = np.frombuffer(bytes.fromhex(candidate), dtype=np.uint8)
        far = np.bitwise_count(bank ^ own).sum(axis=1)
        row = int(far.argmin())
        if best is None or far[row] < best[1]:
            best = row, int(far[row])
    return best


def _luma(image: Image) -> Any:
    import numpy as np
    from PIL import Image as pillow

    grey = image.convert("RGB").convert("L")
    small = grey.resize((_SIDE, _SIDE), pillow.Resampling.BOX, reducing_gap=None)
    return np.asarray(small, dtype=np.float64)


@cache
def _cosines() -> Any:
    import numpy as np

    wave, at = np.arange(1, _WAVES + 1)[:, None], np.arange(_SIDE)
    return np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * wave * (2 * at + 1))


def _quality(plane: Any) -> int:
    """The summed steps between neighbours, as the original measures "too plain to hash"."""
    import numpy as np

    steps = sum(
        float(np.abs(np.trunc(np.diff(plane, axis=axis) * 100 / 255)).sum()) for axis in (0, 1)
    )
    return min(100, int(steps / 90))


def _digits(waves: Any) -> str:
    import numpy as np

    bits = (waves > np.median(waves)).ravel()
    return np.packbits(bits).tobytes().hex()
