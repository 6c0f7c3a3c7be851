"""Stage ``image.nudenet``: exposed body parts in a picture, by NudeNet's 320-pixel YOLOv8n.

Uses the package's weights with a session and a reader of our own. NudeNet's session takes every
core; its reader pads a picture to a square before scaling it (a 20,000 pixel line becomes 1.2 GB)
and hands the model blue first, although it was trained red first: on two public portraits faces
score 0.81 instead of 0.72, and 0.67 instead of 0.16 at 256 pixels.

It was trained on photographs. It sees little in drawings, and nothing in what fills less than
some ten pixels of the 320, so a sheet of several pictures must be judged picture by picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moderation.policy import Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from moderation.pipeline import Content

SIDE = 320
"""The model's input: a square of this many pixels."""

FLOOR = 0.25
"""Scores below are noise and make no flag."""

MINOR_SCORE = 0.5
"""From here on, nudity in a picture whose prompt names a minor is child sexual abuse material."""

LABELS: Mapping[str, float] = {
    "FEMALE_BREAST_EXPOSED": 1.0,
    "FEMALE_GENITALIA_EXPOSED": 1.0,
    "MALE_GENITALIA_EXPOSED": 1.0,
    "ANUS_EXPOSED": 1.0,
    "BUTTOCKS_EXPOSED": 1.0,
    "MALE_BREAST_EXPOSED": 0.0,
    "BELLY_EXPOSED": 0.0,
    "FEET_EXPOSED": 0.0,
    "ARMPITS_EXPOSED": 0.0,
    "FEMALE_GENITALIA_COVERED": 0.0,
    "FEMALE_BREAST_COVERED": 0.0,
    "BUTTOCKS_COVERED": 0.0,
    "ANUS_COVERED": 0.0,
    "BELLY_COVERED": 0.0,
    "FEET_COVERED": 0.0,
    "ARMPITS_COVERED": 0.0,
    "FACE_FEMALE": 0.0,
    "FACE_MALE": 0.0,
}
"""What each label of the model counts for as SEX: its score is multiplied by this."""

_MAX_PIXELS = 64_000_000
_BACKGROUNDS = ((255, 255, 255), (49, 51, 56))  # white, and a chat window's dark grey


class NudeNetStage:
    """Exposed parts make SEX flags with the model's score; the detail is the body part.

    ``names_minor`` says whether a text mentions a minor; with it, nudity in a picture whose
    caption or context does is flagged CSAE. Costs about 70 ms and one core per picture.
    """

    name = "image.nudenet"
    surfaces = frozenset({Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD})

    def __init__(self, names_minor: Callable[[str], bool] | None = None) -> None:
        self._names_minor = names_minor
        self._lock = threading.Lock()
        self._ready: tuple[Any, str, tuple[str, ...]] | None = None

    def load(self) -> None:
        """Import onnxruntime and read the weights (12 MB). Raises ``ImportError``, and
        ``RuntimeError`` when the package's labels are not those we know."""
        self._loaded()

    def _loaded(self) -> tuple[Any, str, tuple[str, ...]]:
        with self._lock:
            if self._ready is None:
                self._ready = _open()
            return self._ready

    def check(self, content: Content) -> Sequence[Flag]:
        """One flag per exposed part seen. Raises ``ValueError`` on a picture it cannot judge
        (animated, or over 64 million pixels), which holds it."""
        if content.image is None:
            raise ValueError("no picture")
        picture: Image = content.image
        worst: dict[str, float] = {}
        for blob in prepare(picture):
            for label, score in self.scores(blob).items():
                worst[label] = max(score, worst.get(label, 0.0))
        flags = [
            self._flag(Category.SEX, score * LABELS[label], label)
            for label, score in worst.items()
            if score * LABELS[label] >= FLOOR
        ]
        texts = [text for text in (content.text, *content.context) if text]
        bare = any(flag.score >= MINOR_SCORE for flag in flags)
        if bare and self._names_minor is not None and any(map(self._names_minor, texts)):
            flags.append(self._flag(Category.CSAE, 1.0, "minor in the prompt"))
        return flags

    def _flag(self, category: Category, score: float, detail: str) -> Flag:
        # Half precision in the model may give 1.0000001.
        score = min(score, 1.0)
        return Flag(category=category, score=score, stage=self.name, detail=detail.lower())

    def scores(self, blob: NDArray[np.float32]) -> dict[str, float]:
        """The highest score (0 to 1) of each label in one prepared picture, from ``FLOOR`` on."""
        session, name, labels = self._loaded()
        (output,) = session.run(None, {name: blob})  # thread-safe in onnxruntime
        return best_scores(output, labels)


def prepare(image: Image) -> list[NDArray[np.float32]]:
    """The model's input for a picture of any size: shape (1, 3, 320, 320), 0 to 1.

    The longer side becomes 320 and the rest black; channels are red, green, blue. A transparent
    picture gives two, on white and on dark, because what it shows depends on what lies behind it.
    """
    import cv2
    import numpy as np

    width, height = image.size
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError("animated picture")
    if width * height > _MAX_PIXELS or min(width, height) < 1:
        raise ValueError("picture of impossible size")
    scale = SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    blobs = []
    for rgb in _opaque(image):
        small = cv2.resize(np.asarray(rgb), size, interpolation=cv2.INTER_LINEAR)
        square = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        square[: size[1], : size[0]] = small
        blob = square.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255.0)
        blobs.append(np.ascontiguousarray(blob))
    return blobs


def _opaque(image: Image) -> list[Image]:
    """The picture without transparency; on each background when it has any."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        from PIL import Image as pillow

        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            grounds = (pillow.new("RGBA", layer.size, colour) for colour in _BACKGROUNDS)
            return [pillow.alpha_composite(g, layer).convert("RGB") for g in grounds]
    if image.mode.startswith(("I", "F")):
        raise ValueError("picture of more than 8 bits")
    return [image.convert("RGB")]


def best_scores(output: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
    """The highest score of each label over the model's boxes.

    ``output`` has shape (1, 4 + labels, boxes). As in NudeNet a box counts for its likeliest
    label only; unlike there, boxes that overlap do not silence each other, since a covered part
    detected over an exposed one is no reason to look away. Raises ``ValueError`` on numbers that
    are not finite or a shape that does not fit.
    """
    import numpy as np

    if output.ndim != 3 or output.shape[:2] != (1, 4 + len(labels)):
        raise ValueError(f"unexpected output shape {output.shape}")
    scores = output[0, 4:]
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    likeliest = scores.argmax(axis=0)
    found = {}
    for index, label in enumerate(labels):
        own = scores[index, likeliest == index]
        best = float(own.max()) if own.size else 0.0
        if best >= FLOOR:
            found[label] = best
    return found


def _open() -> tuple[Any, str, tuple[str, ...]]:
    import onnxruntime
    from nudenet import nudenet as package

    labels = tuple(getattr(package, "__labels"))
    if set(labels) != set(LABELS):
        raise RuntimeError("this version of nudenet has other labels than we know")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # pictures are judged side by side; cores are shared
    options.inter_op_num_threads = 1
    # Spinning threads would take a core from the model that makes the pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = package.__file__.removesuffix("nudenet.py") + "320n.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name, labels
