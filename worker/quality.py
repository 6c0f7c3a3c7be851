"""Is a picture like its prompt? Asked only where a CLIP model was configured.

The engine itself makes blank, flat and not-a-number pictures again; what needs a second model is
here. CLIP (Radford et al. 2021, arXiv 2103.00020) gives a text and a picture a vector each; the
cosine of unrelated pairs is about 0.1 to 0.2, of fitting ones 0.25 to 0.35 for ViT-B/32.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from storage.errors import OperatorError

log = logging.getLogger(__name__)


class Likeness:
    """A CLIP model from a folder of safetensors files; loaded at first use. Thread-safe."""

    def __init__(self, folder: Path, floor: float) -> None:
        self.floor = floor
        """Cosine below which a picture is unlike its prompt."""
        self._folder = folder
        self._lock = threading.Lock()
        self._parts: tuple[Any, Any] | None = None

    def load(self) -> None:
        """Reads the model. Raises ``OperatorError`` when the folder holds none."""
        from transformers import AutoProcessor, CLIPModel

        try:
            kind: Any = CLIPModel
            model = kind.from_pretrained(
                self._folder, use_safetensors=True, local_files_only=True
            ).eval()
            reader: Any = AutoProcessor
            processor = reader.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise OperatorError(
                f"no CLIP model could be read from {self._folder}",
                "put its safetensors files there, or unset ATELIER_CLIP_MODEL",
            ) from error
        self._parts = (model, processor)

    def score(self, image: Image.Image, text: str) -> float:
        """Cosine of the picture's and the text's vectors, -1 to 1. Blocking: some 100 ms."""
        import torch

        with self._lock:
            if self._parts is None:
                self.load()
            assert self._parts is not None
            model, processor = self._parts
            inputs = processor(
                text=[text], images=image, return_tensors="pt", padding=True, truncation=True
            )
            with torch.inference_mode():
                out = model(**inputs)
            pair = torch.nn.functional.cosine_similarity(out.text_embeds, out.image_embeds)
            return float(pair[0])

    def unlike(self, image: Image.Image, text: str) -> bool:
        """Whether a picture should be made again; a fault of the model counts as no."""
        try:
            return self.score(image, text) < self.floor
        except (OperatorError, RuntimeError, ValueError) as error:
            log.error("the likeness check failed: %s", error)
            return False
