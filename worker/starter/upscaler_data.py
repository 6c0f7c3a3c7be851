"""Pairs of small and large pictures for the upscaler, from the icon sets of ``data.py``.

Large pictures are drawn from the vector files at 256 and 512 px, so their edges are true. What the
upscaler will be given is seldom a clean reduction, so small ones come in three kinds: reduced by
one of several filters with a little blur, noise or JPEG; and, for the starter's own pictures, the
reduction sent through its autoencoder with disturbed latents, whose smears and seams it is meant
to mend. Icons are held out by name (``names.evaluation_names``) in every set and size.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from worker.starter.data import SETS, Pixels, on_white, render, svg_of
from worker.starter.names import evaluation_names, is_useful
from worker.starter.patch_autoencoder import PatchAutoencoder
from worker.starter.picture import WEIGHTS as PICTURE_WEIGHTS

LARGE = 256
"""Edge of the training pictures in pixels; a third is also there at twice that."""


@dataclass
class Set:
    """Pictures of one size: ``pixels`` (n, s, s, 3) uint8, ``small`` their autoencoder copies."""

    pixels: npt.NDArray[np.uint8]
    small: npt.NDArray[np.uint8] | None
    held: npt.NDArray[np.bool_]


def on_colour(picture: Pixels, colour: npt.NDArray[np.float64]) -> Pixels:
    """The picture with its white ground multiplied to another colour."""
    return np.asarray(picture.astype(np.float32) * colour[None, None], np.uint8)


def build(node_modules: Path, out: Path) -> None:
    """Draws all pictures into ``upscaler_256.npz`` and ``upscaler_512.npz`` under ``out``."""
    flat = node_modules / "@iconify-json" / SETS["flat"]
    categories = json.loads((flat / "metadata.json").read_text())["categories"]
    useful = sorted({n for c, names in categories.items() for n in names if is_useful(n, c)})
    held_names = set(evaluation_names(useful))
    codes = {name: code.replace("-fe0f", "") for code, name in _chars(flat).items()}
    held_codes = {codes[name] for name in held_names if name in codes}
    drawn: dict[int, list[Pixels]] = {LARGE: [], 2 * LARGE: []}
    held: dict[int, list[bool]] = {LARGE: [], 2 * LARGE: []}

    def add(size: int, picture: Pixels, code: str) -> None:
        drawn[size].append(picture)
        held[size].append(code in held_codes)

    for style, folder in SETS.items():
        base = node_modules / "@iconify-json" / folder
        data: dict[str, Any] = json.loads((base / "icons.json").read_text())
        by_code = {code.replace("-fe0f", ""): name for code, name in _chars(base).items()}
        for place, name in enumerate(useful):
            code = codes.get(name, "")
            icon = by_code.get(code)
            if icon not in data["icons"] or (style != "flat" and place % 2):
                continue
            svg = svg_of(data, str(icon))
            add(LARGE, render(svg, LARGE), code)
            if place % 5 == 0:
                add(2 * LARGE, render(svg, 2 * LARGE), code)
    assets = node_modules / "@lobehub" / "fluent-emoji-3d" / "assets"
    for path in sorted(assets.glob("*.webp"))[::4]:
        add(LARGE, on_white(Image.open(path), LARGE), path.stem.replace("-fe0f", ""))
    out.mkdir(parents=True, exist_ok=True)
    for size, pictures in drawn.items():
        pixels = np.stack(pictures)
        np.save(out / f"upscaler_{size}.npy", pixels)
        np.save(out / f"upscaler_{size}_held.npy", np.array(held[size]))
        print(f"{len(pixels)} pictures of {size} px, {sum(held[size])} held out", flush=True)
    np.save(out / "upscaler_small.npy", through_autoencoder(np.load(out / "upscaler_256.npy")))


def _chars(folder: Path) -> dict[str, str]:
    chars: dict[str, str] = json.loads((folder / "chars.json").read_text())
    return chars


@torch.inference_mode()
def through_autoencoder(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Half-size copies as the starter would draw them: its autoencoder, latents disturbed."""
    vae = PatchAutoencoder.from_pretrained(PICTURE_WEIGHTS / "vae").float()
    generator = torch.Generator().manual_seed(0)
    out = []
    for start in range(0, len(pixels), 64):
        part = torch.from_numpy(pixels[start : start + 64]).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = vae.encode(F.avg_pool2d(part, 2)).latent_dist.mean
        sigma = torch.rand(len(latents), 1, 1, 1, generator=generator) * 0.25
        noise = torch.randn(latents.shape, generator=generator)
        shown = vae.decode(latents + sigma * noise, return_dict=False)[0]
        shown = (shown * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)
        out.append(shown.permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def load(out: Path) -> list[Set]:
    """The two sets that :func:`build` wrote. Raises ``FileNotFoundError`` before that."""
    sets = []
    for size in (LARGE, 2 * LARGE):
        pixels = np.load(out / f"upscaler_{size}.npy", mmap_mode="r")
        small = np.load(out / "upscaler_small.npy", mmap_mode="r") if size == LARGE else None
        sets.append(Set(pixels, small, np.load(out / f"upscaler_{size}_held.npy")))
    return sets


class Pairs:
    """Draws training pairs; what it draws depends only on the seed it is given."""

    def __init__(self, sets: list[Set], patch: int) -> None:
        self.sets = sets
        self.free = [np.flatnonzero(~s.held) for s in sets]
        self.patch = patch

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Small ``[n, 3, p, p]`` and large ``[n, 3, 2 p, 2 p]`` pictures in 0 to 1."""
        rng = np.random.default_rng(seed)
        small, large = zip(*(self._pair(rng) for _ in range(count)), strict=True)
        return torch.stack(small), torch.stack(large)

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        for _ in range(8):  # mostly ground teaches nothing: look for a place with something on it
            which = int(rng.random() < 0.3)
            pool = self.sets[which]
            index = int(rng.choice(self.free[which]))
            reach = (pool.pixels.shape[1] - 2 * self.patch) // 2
            y, x = (int(v) for v in rng.integers(0, reach + 1, 2))
            sharp = pool.pixels[index, 2 * y : 2 * (y + self.patch), 2 * x : 2 * (x + self.patch)]
            if sharp.std() > 8 or rng.random() < 0.05:
                break
        given: npt.NDArray[np.uint8] | None = None
        if pool.small is not None and rng.random() < 0.4:
            given = pool.small[index, y : y + self.patch, x : x + self.patch]
        if rng.random() < 0.2:
            colour = rng.uniform(0.1, 1.0, 3)
            sharp = on_colour(sharp, colour)
            given = None if given is None else on_colour(given, colour)
        turns, mirror, order = int(rng.integers(4)), bool(rng.random() < 0.5), rng.permutation(3)
        large = _tensor(_turned(sharp, turns, mirror)[..., order])
        if given is not None:
            return _tensor(_turned(given, turns, mirror)[..., order]), large
        return reduce(large, rng), large


def _turned(picture: npt.NDArray[np.uint8], turns: int, mirror: bool) -> npt.NDArray[np.uint8]:
    turned = np.rot90(picture, turns)
    return turned[:, ::-1] if mirror else turned


def _tensor(picture: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


FILTERS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS,
           Image.Resampling.BILINEAR)  # fmt: skip


def reduce(large: Tensor, rng: np.random.Generator) -> Tensor:
    """Half the size by a filter drawn at random, sometimes with noise or JPEG on top."""
    array = (large.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    side = array.shape[0] // 2
    image = Image.fromarray(array).resize((side, side), FILTERS[int(rng.integers(len(FILTERS)))])
    if rng.random() < 0.15:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
        image = Image.open(buffer).convert("RGB")
    small = _tensor(np.asarray(image))
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 3 / 255), small.shape)).float()
        small = (small + noise).clamp(0, 1)
    return small


def main() -> None:
    """Command line: draw the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("node_modules", type=Path)
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    options = parser.parse_args()
    build(options.node_modules, options.out)


if __name__ == "__main__":
    main()
