"""Pictures to files, away from the engine and from the event loop.

Measured at 1024 pixels (PERFORMANCE.md 1.3): PNG 299 ms and 1.86 MB, WebP quality 90 method 2
62 ms and 242 kB, lossless WebP method 0 37 ms and 1.70 MB. Pillow gives the interpreter free while
it encodes, so threads do.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from PIL import Image

from moderation.marks.marker import Encode, as_png

P = ParamSpec("P")
T = TypeVar("T")

THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
"""Of their own: an encoder never queues behind a check that hangs."""


def _webp(image: Image.Image, xmp: bytes | None, **options: object) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options, **({"xmp": xmp} if xmp else {}))
    return buffer.getvalue(), "webp"


ENCODERS: Mapping[str, Encode] = {
    "webp": partial(_webp, quality=90, method=2),
    "lossless": partial(_webp, lossless=True, method=0),
    "png": as_png,
}
"""By the spec's ``format``."""


def encode_preview(image: Image.Image) -> bytes:
    """A small lossy picture: it lives for seconds."""
    return _webp(image, None, quality=80, method=0)[0]


async def in_encoder(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a blocking call on the encoders' own threads."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(THREADS, partial(call, *args, **kwargs))
