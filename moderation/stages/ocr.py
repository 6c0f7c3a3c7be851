"""Stage ``image.text``: reads what is written in a picture and judges it as text.

RapidOCR's detector looks at the picture at 640 pixels at most; only where it finds lines is
anything read. Chinese and English are read well, other alphabets roughly.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moderation.policy import Surface
from storage.schema import Flag

if TYPE_CHECKING:
    from PIL.Image import Image

    from moderation.pipeline import Content, Stage

LEAST, MOST = 320, 640
"""Longest side that is read, in pixels: smaller pictures are grown, larger ones shrunk."""


MOST_LINES = 60
"""Lines that are judged, all of them read already; a page of small print is cut there."""
_SURE = 0.6


class PictureTextStage:
    """Asks text stages about the lines in a picture; their flags count as this stage's."""

    name = "image.text"
    surfaces = frozenset({Surface.OUTPUT, Surface.UPLOAD})
    version = "rapidocr-1.4.4"

    def __init__(self, judges: Sequence[Stage]) -> None:
        self._judges = tuple(judges)
        self._lock = threading.Lock()
        self._reader: Any = None

    def load(self) -> None:
        """Import the reader and its weights (16 MB), and load the judges."""
        self._loaded()
        for judge in self._judges:
            judge.load()

    def _loaded(self) -> Any:
        with self._lock:
            if self._reader is None:
                from rapidocr_onnxruntime import RapidOCR

                self._reader = RapidOCR(
                    intra_op_num_threads=1, inter_op_num_threads=1, use_cls=False,
                    det_limit_type="max",
                )  # fmt: skip
            return self._reader

    def check(self, content: Content) -> Sequence[Flag]:
        """What the text stages find in the picture's words."""
        if content.image is None:
            raise ValueError("no picture")
        text = self.read(content.image)
        if not text:
            return []
        from dataclasses import replace

        words = replace(content, text=text, image=None)
        return [
            flag.model_copy(update={"stage": self.name, "detail": f"written: {flag.detail}"})
            for judge in self._judges
            if content.surface in judge.surfaces
            for flag in judge.check(words)
        ]

    def read(self, image: Image) -> str:
        """The lines of text in a picture, top to bottom; empty when there are none."""
        import numpy as np

        reader = self._loaded()
        pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
        pixels = _fitted(pixels)
        with self._lock:  # the reader keeps the picture's scale in itself
            lines, _ = reader(pixels, use_det=True, use_cls=False, use_rec=True)
        return "\n".join(str(line[1]) for line in (lines or [])[:MOST_LINES] if line[2] >= _SURE)


def _fitted(pixels: Any) -> Any:
    import cv2

    height, width = pixels.shape[:2]
    longest = max(height, width)
    wanted = min(max(longest, LEAST), MOST)
    if wanted == longest:
        return pixels
    size = max(32, round(width * wanted / longest)), max(32, round(height * wanted / longest))
    how = cv2.INTER_CUBIC if wanted > longest else cv2.INTER_AREA
    return cv2.resize(pixels, size, interpolation=how)
