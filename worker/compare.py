"""A picture made anew, beside the one it was made from: identical, or how far off."""

from __future__ import annotations

import asyncio
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from storage.cases import generation
from storage.errors import NotFound
from storage.jobs import Claim
from worker.engine.outputs import Picture

if TYPE_CHECKING:
    from worker.generate import Tools


async def compared(tools: Tools, claim: Claim, output: Picture) -> dict[str, Any]:
    """``{"of", "identical", "psnr_db"}``: by the SHA-256 of the raw pixels.

    When they differ, ``psnr_db`` compares with the delivered file, whose own compression and
    watermark are in it (some 40 dB by themselves); None when that file is gone.
    """
    assert claim.again_of is not None
    told: dict[str, Any] = {"of": claim.again_of, "identical": False, "psnr_db": None}
    try:
        old = await tools.database.look(generation, claim.again_of, workspace_id=claim.workspace_id)
    except NotFound:
        return told
    if old.sha256 == output.sha256:
        return told | {"identical": True}
    if old.blob is not None:
        try:
            data = await asyncio.to_thread(tools.blobs.get, old.blob)
        except NotFound:
            return told
        told["psnr_db"] = await asyncio.to_thread(_against, data, output.image)
    return told


def _against(data: bytes, image: Image.Image) -> float | None:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as stored:
        return psnr(stored.convert("RGB"), image)


def psnr(first: Image.Image, second: Image.Image) -> float | None:
    """Peak signal-to-noise ratio in dB, one decimal; None for other sizes or equal pixels."""
    if first.size != second.size:
        return None
    a = np.asarray(first.convert("RGB"), dtype=np.float64)
    b = np.asarray(second.convert("RGB"), dtype=np.float64)
    error = float(((a - b) ** 2).mean())
    return None if error == 0 else round(10 * math.log10(255**2 / error), 1)
