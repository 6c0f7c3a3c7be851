"""An imperceptible watermark with a payload: survives JPEG, WebP and any change of size.

Spread-transform dither modulation (Chen and Wornell, *Quantization index modulation*, IEEE
Transactions on Information Theory 47, 2001) on the low frequencies of the whole picture's cosine
transform. A frequency counted in half waves per picture side is the same number whatever the
side's length, so the reader needs neither the original size nor a template to find the scale.

Each payload bit is carried by the projection of the luma onto one fixed pattern: some dozens of
frequencies with signs drawn once. Embedding moves the projection to the nearest point of one of
two interleaved lattices; noise below a quarter of their spacing changes nothing. The
change goes where it is seen least: a mask gives flat areas a small share, and as masked patterns
are no longer orthogonal, the amounts solve a small linear system, repeated while rounding and
clipping take their toll.

Lost on crops and strong changes of contrast. The code is public and there is no secret: the mark
says "made by Atelier, in this studio", and who wants to remove it can.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Plane = NDArray[np.float64]

VERSION = 1
"""First four bits of the payload: what the rest means."""

TAG_BITS = 24
"""Of the studio's tag."""

STEP = 84.0
"""Lattice spacing in units of a 128 x 128 picture's orthonormal cosine coefficients."""

SMALL_STEP = 140.0
"""For pictures with a shorter side below ``SMALL``: what a codec changes weighs more there."""

SMALL = 224

_LOW, _HIGH = 3, 20
_BITS = 4 + TAG_BITS + 16
_SEED = 20260802
_ROUNDS = 6
_SURE = 0.36
"""Mean distance from the lattice, 0 to 1, below which a reading counts; chance gives 0.5."""
_GAINS = (1.0, 0.985, 1.015, 0.97, 1.03, 0.955, 1.045, 0.94, 1.06, 0.92, 1.08)
SMALLEST = 64
"""Pictures with a shorter side get no watermark and are not searched for one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A watermark that was found. ``distance`` is 0 (perfect) to 0.36 (barely believed)."""

    version: int
    tag: int
    distance: float


def embed(image: Image, tag: int) -> Image:
    """The picture with the studio's tag (0 to 2**24 - 1) in its luma; the same mode and size.

    Returns the picture itself when it is smaller than ``SMALLEST``. Alpha stays as it is.
    Raises ``ValueError`` for a tag out of range.
    """
    import numpy as np
    from PIL import Image as pillow

    if not 0 <= tag < 1 << TAG_BITS:
        raise ValueError("tag out of range")
    if min(image.size) < SMALLEST:
        return image
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    rgb = np.asarray(image.convert("RGB"), dtype=np.float64)
    wanted = np.array(_bits(tag), dtype=np.float64)
    height, width = rgb.shape[:2]
    unit = np.sqrt(height * width) / 128.0
    mask = _mask(_luma(rgb))
    gram = _gram(mask, height, width)
    marked = rgb
    step = SMALL_STEP if min(image.size) < SMALL else STEP
    now = _projections(_luma(marked)) / unit
    goal = _nearest(now, wanted, step)
    for _ in range(_ROUNDS):
        change = _pattern(np.linalg.solve(gram, goal - now), height, width) * mask * unit
        marked = np.clip(np.rint(marked + change[..., None]), 0.0, 255.0)
        now = _projections(_luma(marked)) / unit
        if np.abs(goal - now).max() < step / 16:
            break
    result = pillow.fromarray(marked.astype(np.uint8), "RGB")
    if alpha is not None:
        result.putalpha(alpha)
    return result if image.mode in ("RGB", "RGBA") else result.convert(image.mode)


def read(image: Image) -> Reading | None:
    """The watermark of a picture of any size, mirrored or turned by quarters too; else ``None``.

    A picture without one is taken for marked about once in a million times.
    """
    import numpy as np

    if min(image.size) < SMALLEST:
        return None
    luma = _luma(np.asarray(image.convert("RGB"), dtype=np.float64))
    best: Reading | None = None
    for turned in _turns(_coefficients(luma)):
        values = _folded(turned) / (np.sqrt(luma.size) / 128.0)
        for step in (STEP, SMALL_STEP):  # it may have been scaled across the border since
            for gain in _GAINS:
                found = _decode(values / gain, step)
                if found is not None and (best is None or found.distance < best.distance):
                    best = found
        if best is not None:
            return best
    return None


def _bits(tag: int) -> list[int]:
    body = (VERSION << TAG_BITS) | tag
    check = binascii.crc_hqx(body.to_bytes(4, "big"), 0xFFFF)
    whole = (body << 16) | check
    return [(whole >> (_BITS - 1 - i)) & 1 for i in range(_BITS)]


def _nearest(values: Plane, bits: Plane, step: float) -> Plane:
    import numpy as np

    offset = np.where(bits > 0.5, step / 4, -step / 4)
    return np.rint((values - offset) / step) * step + offset


def _decode(values: Plane, step: float) -> Reading | None:
    import numpy as np

    one, zero = (np.abs(_nearest(values, np.full(_BITS, bit), step) - values) for bit in (1.0, 0.0))
    distance = float(np.minimum(one, zero).mean() / (step / 4))
    if distance > _SURE:
        return None
    whole = 0
    for bit in one < zero:
        whole = (whole << 1) | int(bit)
    body, check = whole >> 16, whole & 0xFFFF
    if binascii.crc_hqx(body.to_bytes(4, "big"), 0xFFFF) != check:
        return None
    version, tag = body >> TAG_BITS, body & ((1 << TAG_BITS) - 1)
    return Reading(version, tag, distance) if version == VERSION else None


@cache
def _carriers() -> tuple[Any, Any]:
    """For every frequency pair the bit it carries (or -1) and its sign; drawn once for all."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(_SEED))
    side = _HIGH + 1
    owner = np.full((side, side), -1)
    places = [
        (v, u) for v in range(side) for u in range(side)
        if max(u, v) >= _LOW and u + v >= _LOW and u + v <= _HIGH and u * u + v * v >= 4 * _LOW
    ]  # fmt: skip
    for number, index in enumerate(rng.permutation(len(places))):
        owner[places[index]] = number % _BITS
    signs = rng.integers(0, 2, size=(side, side)) * 2.0 - 1.0
    counts = np.bincount(owner[owner >= 0], minlength=_BITS)
    weights = np.zeros((side, side))
    carrying = owner >= 0
    weights[carrying] = signs[carrying] / np.sqrt(counts[owner[carrying]])
    return owner, weights


@cache
def _waves(length: int) -> Any:
    """The first cosine waves over ``length`` samples, orthonormal: shape (waves, length)."""
    import numpy as np

    at = (np.arange(length) + 0.5) / length
    waves = np.cos(np.pi * np.outer(np.arange(_HIGH + 1), at)) * np.sqrt(2.0 / length)
    waves[0] /= np.sqrt(2.0)
    return waves


def _luma(rgb: Plane) -> Plane:
    return rgb @ _LUMA_WEIGHTS


_LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def _coefficients(luma: Plane) -> Plane:
    height, width = luma.shape
    return _waves(height) @ luma @ _waves(width).T  # type: ignore[no-any-return]


def _folded(coefficients: Plane) -> Plane:
    import numpy as np

    owner, weights = _carriers()
    used = owner >= 0
    carried = (coefficients * weights)[used]
    return np.bincount(owner[used], carried, minlength=_BITS).astype(np.float64)


def _projections(luma: Plane) -> Plane:
    return _folded(_coefficients(luma))


def _pattern(amounts: Plane, height: int, width: int) -> Plane:
    """The picture whose cosine coefficients are the carriers times these amounts."""
    import numpy as np

    owner, weights = _carriers()
    spread = np.where(owner >= 0, amounts[owner], 0.0) * weights
    return _waves(height).T @ spread @ _waves(width)  # type: ignore[no-any-return]


def _gram(mask: Plane, height: int, width: int) -> Plane:
    """How much a masked pattern of one bit moves the projection of another."""
    import numpy as np

    columns = [
        _projections(_pattern(row, height, width) * mask) for row in np.eye(_BITS)
    ]  # fmt: skip
    return np.stack(columns, axis=1) + 1e-3 * np.eye(_BITS)


def _mask(luma: Plane) -> Plane:
    """Where a change is seen least: 1 beside edges and in texture, less in flat areas."""
    import numpy as np

    height, width = luma.shape
    size = max(3, round(min(height, width) / 24) | 1)
    mean = _blur(luma, size)
    spread = np.sqrt(np.maximum(_blur(luma * luma, size) - mean * mean, 0.0))
    return np.clip(0.45 + spread / 24.0, 0.45, 1.0)


def _blur(plane: Plane, size: int) -> Plane:
    """Mean over a square of ``size`` (odd), edges repeated."""
    import numpy as np

    half = size // 2
    for axis in (0, 1):
        pad = [(half + 1, half) if a == axis else (0, 0) for a in (0, 1)]
        summed = np.cumsum(np.pad(plane, pad, mode="edge"), axis=axis)
        length = plane.shape[axis]
        upper = np.take(summed, range(size, size + length), axis=axis)
        lower = np.take(summed, range(length), axis=axis)
        plane = (upper - lower) / size
    return plane


def _turns(coefficients: Plane) -> list[Plane]:
    """The coefficients of the picture in its eight orientations, as it is first.

    Mirroring a picture flips the sign of its odd waves; transposing it transposes them.
    """
    import numpy as np

    odd = np.where(np.arange(_HIGH + 1) % 2 == 1, -1.0, 1.0)
    flips = [
        coefficients, coefficients * odd, coefficients * odd[:, None],
        coefficients * odd * odd[:, None],
    ]  # fmt: skip
    return flips + [np.ascontiguousarray(flip.T) for flip in flips]
