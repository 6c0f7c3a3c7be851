"""Larger pictures: a learned upscaler tile by tile, so that nobody waits for a whole picture.

Any single-picture super-resolution network that ``spandrel`` knows, from one safetensors file; the
starter's is of the same kind. Where none can be loaded, Lanczos (named in the recipe) still gives
what was asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from storage.recipes import recipe_of
from storage.registry import ModelCard
from storage.schema import ImageSpec, JobKind, Mode
from worker.engine.errors import BadPicture, ModelUnavailable
from worker.engine.exact import make_exact
from worker.engine.outputs import Picture, Progress
from worker.engine.receipt import device_name
from worker.engine.runners import pixels
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped, weigh

log = logging.getLogger(__name__)

TILE, BORDER = 128, 16
"""Pixels a side of a tile and of what it sees around it; a network's reach is about that."""
_NEEDS_TORCHVISION = ("LaMa", "RestoreFormer")
"""Of spandrel 0.4.2's architectures; neither enlarges pictures."""
_serial = itertools.count()


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Lets spandrel be imported without torchvision, which two of its forty architectures name.

    They get an empty stand-in while they are imported; nothing of it is left behind.
    """
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    if find_spec("torchvision") is not None or "spandrel" in sys.modules:
        yield
        return
    made = {name: ModuleType(name) for name in names}
    for wanted in ("InterpolationMode", "rotate", "normalize"):
        setattr(made[names[2]], wanted, None)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def load_network(path: Path) -> tuple[Any, int]:
    """A network from a safetensors file and how many times it enlarges each side.

    Raises ``ModelUnavailable`` for what is no picture upscaler.
    """
    from safetensors.torch import load_file

    with _without_torchvision():
        import spandrel
    try:
        found = spandrel.ModelLoader().load_from_state_dict(load_file(path))
    except Exception as error:  # its registry raises anything for foreign files
        raise ModelUnavailable(
            f"{path.name} is no upscaler that can be read ({type(error).__name__})",
            "choose a safetensors file of an architecture that spandrel lists",
        ) from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.scale < 2:
        raise ModelUnavailable(f"{path.name} does not enlarge pictures", "choose another file")
    if found.input_channels != 3 or found.output_channels != 3:
        raise ModelUnavailable(f"{path.name} does not take RGB pictures", "choose another file")
    return found.model.eval(), int(found.scale)


def file_of(card: ModelCard, models_dir: Path) -> Path:
    """The upscaler's file, its hash compared. Raises ``ModelUnavailable``."""
    if card.source == "starter":
        from worker.starter.upscaler import WEIGHTS

        return WEIGHTS
    files = sorted((models_dir / card.name).glob("*.safetensors"))
    if len(files) != 1:
        raise ModelUnavailable(
            f"upscaler {card.name!r} has {len(files)} files",
            f"put its one safetensors file into {models_dir / card.name}",
        )
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != card.sha256:
        raise ModelUnavailable(
            f"upscaler {card.name!r} is not the file that was listed (sha256 {found[:12]}…)",
            "correct sha256 in registry.toml if the change was meant",
        )
    return files[0]


def load_upscaler(card: ModelCard, models_dir: Path, device: str) -> UpscaleRunner:
    """The runner of an upscaler; with Lanczos alone where its network cannot be loaded."""
    try:
        network, scale = load_network(file_of(card, models_dir))
    except (ModelUnavailable, OSError, ImportError) as error:
        log.error("upscaling by Lanczos only: %s", error)
        return UpscaleRunner(card, None, 1, device)
    return UpscaleRunner(card, network.to(device).float(), scale, device)


@dataclass
class UpscaleWork:
    """A picture being made larger. ``image`` is the present pass's input, ``done`` its output."""

    spec: ImageSpec
    index: int
    seed: int
    image: Tensor
    done: Tensor
    tiles: list[tuple[int, int]]
    passes: int
    recipe: dict[str, Any]
    key: str = field(default_factory=lambda: f"upscale:{next(_serial)}")
    at: int = 0
    made: int = 0
    total: int = 1
    weight: int = 1

    @property
    def left(self) -> int:
        """Tiles still to come, of this pass and those after it."""
        return max(0, self.total - self.made)


class UpscaleRunner:
    """Enlarges one picture by tiles, one tile a step; see :class:`worker.engine.runners.base`.

    ``network`` None means Lanczos. A network of 2x is applied twice for 3x and 4x; what is then
    larger than asked for is reduced by Lanczos.
    """

    kind = JobKind.IMAGE
    shares = False

    def __init__(self, card: ModelCard, network: Any, scale: int, device: str) -> None:
        self.card = card
        self.device = device
        self.size = 0 if network is None else weigh(network)
        self._network = network
        self._scale = scale
        if network is not None and device == "cpu":
            make_exact(network)

    def begin(self, spec: ImageSpec, index: int, pictures: Pictures = NO_PICTURES) -> UpscaleWork:
        """The start picture, before its first tile."""
        if spec.mode is not Mode.UPSCALE or spec.start is None:
            raise ModelUnavailable(f"{self.card.name} only enlarges", "choose a model that draws")
        start = pictures[spec.start.blob].convert("RGB")
        passes, reached = 0, 1
        while self._network is not None and reached < spec.scale:
            passes, reached = passes + 1, reached * self._scale
        method = self.card.name if self._network is not None else "lanczos"
        facts = {
            "revision": self.card.revision or self.card.sha256,
            "upscaler": method,
            "passes": passes,
            "start_sha256": pixels.digest(start),
            "grade": "exact" if self.device == "cpu" else "strict",
            "device": device_name(self.device),
            "torch": torch.__version__,
        }
        image = torch.from_numpy(np.asarray(start, np.float32) / 255).permute(2, 0, 1)[None]
        work = UpscaleWork(
            spec, index, spec.seed_of(index), image, image, [], passes,
            recipe_of(spec, index) | facts,
        )  # fmt: skip
        side = [start.height, start.width]
        work.total = 1
        for _ in range(passes):
            work.total += len(tiles_of(*side))
            side = [length * self._scale for length in side]
        self._start_pass(work, image)
        return work

    def _start_pass(self, work: UpscaleWork, image: Tensor) -> None:
        work.image, work.at = image, 0
        if not work.passes:
            work.tiles = []
            return
        work.passes -= 1
        height, width = image.shape[-2:]
        work.tiles = tiles_of(height, width)
        work.done = torch.zeros(1, 3, height * self._scale, width * self._scale)

    def forward(self, works: Sequence[UpscaleWork]) -> list[Tensor | None]:
        """The next tile of a picture, or None when all are made."""
        (work,) = works
        if work.at >= len(work.tiles):
            return [None]
        tile = padded_tile(work.image, *work.tiles[work.at])
        out: Tensor = self._network(tile.to(self.device)).float().cpu()
        return [out]

    def advance(self, work: UpscaleWork, result: Tensor | None) -> Stepped:
        """Puts a tile in its place; after the last, the picture. Raises ``BadPicture`` for a tile
        of no numbers, which would be delivered as noise."""
        if result is None:
            return Stepped([self._finish(work)], done=True)
        top, left = work.tiles[work.at]
        if not bool(torch.isfinite(result).all()):
            raise BadPicture("the tile holds values that are not numbers", "nan")
        height, width = work.image.shape[-2:]
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        scale, border = self._scale, BORDER * self._scale
        inner = result[
            ..., border : border + rows * scale, border : border + columns * scale
        ].clamp(0, 1)
        work.done[
            ..., top * scale : (top + rows) * scale, left * scale : (left + columns) * scale
        ] = inner
        work.at += 1
        work.made += 1
        if work.at == len(work.tiles) and work.passes:
            self._start_pass(work, work.done)
        return Stepped([Progress(work.index, work.made, work.total)])

    def _finish(self, work: UpscaleWork) -> Picture:
        array = (work.done[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        image = Image.fromarray(array)
        size = (work.spec.width, work.spec.height)
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
            work.recipe["resized"] = "lanczos"
        sha256 = pixels.digest(image)
        return Picture(work.index, image, work.seed, {**work.recipe, "sha256": sha256}, sha256)

    def drop(self, work: UpscaleWork) -> None:
        """Nothing to free: a work is plain tensors."""

    def warm(self) -> None:
        """One tile."""
        if self._network is not None:
            self._network(torch.zeros(1, 3, TILE + 2 * BORDER, TILE + 2 * BORDER).to(self.device))


def tiles_of(height: int, width: int) -> list[tuple[int, int]]:
    """Top left corners of the tiles that cover a picture, row by row."""
    return [(top, left) for top in range(0, height, TILE) for left in range(0, width, TILE)]


def padded_tile(image: Tensor, top: int, left: int) -> Tensor:
    """A tile with what lies around it; beyond the picture its edge is repeated."""
    height, width = image.shape[-2:]
    rows = torch.arange(top - BORDER, min(top + TILE, height) + BORDER).clamp(0, height - 1)
    columns = torch.arange(left - BORDER, min(left + TILE, width) + BORDER).clamp(0, width - 1)
    return image[..., rows, :][..., columns]
