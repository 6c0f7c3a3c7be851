"""Whether what a job will make can be sent where it was asked for: looked at before it is paid."""

from __future__ import annotations

from storage.errors import LimitReached
from storage.schema import AnySpec, ImageSpec

SMALLEST_PER_PIXEL = 0.04
"""Bytes a pixel of the whole takes in the smallest form an adapter falls back to (JPEG at quality
50 and a quarter of each side): 0.026 measured for noise, which compresses worst."""


def preflight(spec: AnySpec, file_limit: int) -> None:
    """Raises ``LimitReached('file_limit')`` when no form of the result would fit.

    A picture that is too large as PNG is sent as WebP, then as JPEG, then smaller; only what
    would not even then fit is refused, and nothing is charged.
    """
    if not isinstance(spec, ImageSpec):
        return
    if spec.width * spec.height * SMALLEST_PER_PIXEL > file_limit:
        raise LimitReached("file_limit", size=f"{spec.width}x{spec.height}",
                           limit=max(1, file_limit >> 10))  # fmt: skip
