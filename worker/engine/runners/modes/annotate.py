"""From a picture to what a ControlNet reads: lines, depth, or a skeleton.

Lines are OpenCV's. Depth and pose are networks that the operator lists as adapters of the kind
*annotator*: any of transformers' depth estimators, and ViTPose with (or without) a person detector
beside it.
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from storage.errors import BadInput
from storage.registry import Registry
from storage.schema import ControlKind
from worker.engine.errors import ModelUnavailable
from worker.engine.runners.modes.adapters import checked

CANNY = (100, 200)
"""Gradient thresholds (0 to 255) of the edge detector, as ControlNet's own examples have them."""
SEEN = 0.3
"""Confidence from which a joint is drawn."""
PERSON = 0.5
"""Confidence from which a detected person counts."""

# OpenPose's eighteen joints out of COCO's seventeen: the neck lies between the shoulders.
_JOINTS = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
          (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip


def canny(image: Image.Image) -> Image.Image:
    """White edges on black (Canny 1986), by OpenCV."""
    import cv2

    edges = cv2.Canny(np.asarray(image.convert("RGB")), *CANNY)
    return Image.fromarray(np.asarray(edges)).convert("RGB")


class Annotators:
    """The annotators beside one model, each loaded when first asked for. Engine thread only."""

    def __init__(self, registry: Registry, model: str, folder: Path, device: str) -> None:
        self._registry = registry
        self._model = model
        self._folder = folder
        self._device = device
        self._loaded: dict[ControlKind, Any] = {}

    def read(self, kind: ControlKind, image: Image.Image) -> Image.Image:
        """What a ControlNet of this kind reads in a picture; of the picture's size.

        Raises ``BadInput('annotator_absent')`` where none is listed, ``ModelUnavailable`` for one
        that is missing or broken.
        """
        if kind is ControlKind.CANNY:
            return canny(image)
        found = self._loaded.get(kind)
        if found is None:
            card = self._registry.annotator_for(self._model, kind)
            if card is None:
                raise BadInput("annotator_absent", control=str(kind))
            path = checked(self._folder, card)
            make = Depth if kind is ControlKind.DEPTH else Pose
            try:
                found = make(path.parent, self._device)
            except (OSError, ValueError, ImportError, KeyError) as error:
                raise ModelUnavailable(
                    f"annotator {card.name!r} cannot be loaded ({type(error).__name__})",
                    f"put config.json and preprocessor_config.json beside {path}",
                ) from error
            self._loaded[kind] = found
        drawn: Image.Image = found(image.convert("RGB"))
        return drawn

    def move(self, device: str) -> None:
        """To RAM and back, with the model they stand beside."""
        for one in self._loaded.values():
            one.move(device)


def _parts(folder: Path, kind: Any, device: str) -> tuple[Any, Any]:
    """A network (safetensors only) and the processor of its pictures."""
    from transformers import AutoImageProcessor

    read: Any = AutoImageProcessor
    net = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return net.to(device).eval(), read.from_pretrained(folder, local_files_only=True)


class Depth:
    """A depth estimator (DPT, Depth Anything ...): near is white, far is black."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoModelForDepthEstimation

        self._net, self._processor = _parts(folder, AutoModelForDepthEstimation, device)
        self._device = device

    def move(self, device: str) -> None:
        """To a device and back."""
        self._net.to(device)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Relative depth, spread from 0 to 255."""
        given = self._processor(images=image, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            out = self._net(**given)
        size = (image.height, image.width)
        (found,) = self._processor.post_process_depth_estimation(out, target_sizes=[size])
        depth = found["predicted_depth"].float().cpu().numpy()
        low, high = float(depth.min()), float(depth.max())
        grey = (depth - low) / max(high - low, 1e-6) * 255
        return Image.fromarray(grey.round().astype("uint8")).convert("RGB")


class Pose:
    """ViTPose: a skeleton for each person; a detector in ``detector/`` beside it finds them.

    Without a detector the whole picture counts as one person.
    """

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation

        self._net, self._processor = _parts(folder, VitPoseForPoseEstimation, device)
        self._device = device
        self._detector: tuple[Any, Any] | None = None
        if (folder / "detector").is_dir():
            self._detector = _parts(folder / "detector", AutoModelForObjectDetection, device)

    def move(self, device: str) -> None:
        """To a device and back."""
        self._net.to(device)
        if self._detector is not None:
            self._detector[0].to(device)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Skeletons on black, as OpenPose draws them."""
        boxes = self.people(image)
        drawn = Image.new("RGB", image.size)
        if not boxes:
            return drawn
        given = self._processor(images=image, boxes=[boxes], return_tensors="pt").to(self._device)
        with torch.inference_mode():
            out = self._net(**given)
            (people,) = self._processor.post_process_pose_estimation(out, boxes=[boxes])
        for person in people:
            skeleton(drawn, person["keypoints"].tolist(), person["scores"].tolist())
        return drawn

    def people(self, image: Image.Image) -> list[list[float]]:
        """Boxes ``[left, top, width, height]`` in pixels."""
        if self._detector is None:
            return [[0.0, 0.0, float(image.width), float(image.height)]]
        net, processor = self._detector
        given = processor(images=image, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            out = net(**given)
        size = [(image.height, image.width)]
        (found,) = processor.post_process_object_detection(out, threshold=PERSON, target_sizes=size)
        boxes = []
        for label, (left, top, right, bottom) in zip(
            found["labels"].tolist(), found["boxes"].tolist(), strict=True
        ):
            if net.config.id2label[label] == "person":
                boxes.append([left, top, right - left, bottom - top])
        return boxes


def skeleton(canvas: Image.Image, joints: list[list[float]], scores: list[float]) -> None:
    """Draws one person from COCO's seventeen joints (pixels) and how sure each is (0 to 1)."""
    places: list[tuple[float, float] | None] = []
    for joint in _JOINTS:
        pair = (5, 6) if joint is None else (joint,)
        sure = min(scores[i] for i in pair) >= SEEN
        middle = [sum(joints[i][axis] for i in pair) / len(pair) for axis in (0, 1)]
        places.append((middle[0], middle[1]) if sure else None)
    draw = ImageDraw.Draw(canvas)
    thick = max(2, round(max(canvas.size) / 128))
    for number, (one, other) in enumerate(_LIMBS):
        start, end = places[one], places[other]
        if start is not None and end is not None:
            draw.line([start, end], fill=_colour(number, 0.6), width=thick)
    for number, place in enumerate(places):
        if place is not None:
            x, y = place
            draw.ellipse((x - thick, y - thick, x + thick, y + thick), fill=_colour(number, 1.0))


def _colour(number: int, light: float) -> tuple[int, int, int]:
    """The colour circle in eighteen steps, red first."""
    red, green, blue = colorsys.hsv_to_rgb(number / len(_JOINTS), 1.0, light)
    return round(red * 255), round(green * 255), round(blue * 255)
