"""How good the starter upscaler is, on pictures it never saw, beside bicubic and Lanczos.

``python -m worker.starter.evaluate_upscaler --out var/starter`` loads the shipped file as the
worker does and writes ``card/upscaler.json`` and ``card/upscaler.png``. Held out are all drawings
of 200 icon names in every set. PSNR and SSIM (Wang et al. 2004, Gaussian window of 11, sigma 1.5)
are of the RGB pixels, 0 to 255. Two photographs that come with scikit-learn show what it does to
pictures it was not made for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from worker.engine.runners.upscale import load_network
from worker.starter.data import Pixels
from worker.starter.upscaler import WEIGHTS
from worker.starter.upscaler_data import Set, load

CARD = Path(__file__).parent / "card"
Enlarge = Callable[[Image.Image], Image.Image]


def psnr(made: Pixels, true: Pixels) -> float:
    """Peak signal to noise ratio in dB."""
    error = float(np.mean((made.astype(np.float64) - true.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def ssim(made: Pixels, true: Pixels) -> float:
    """Structural similarity, the mean over places and channels; 1 is equal."""
    x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[:, None].double() for p in (made, true))
    place = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(place**2) / (2 * 1.5**2))
    line = (line / line.sum())[None, None]

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(image, line[..., None]), line[..., None, :])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    found = found / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(found.mean())


def by_network(path: Path) -> Enlarge:
    """The shipped network, as the worker runs it."""
    network, _ = load_network(path)

    @torch.inference_mode()
    def enlarge(image: Image.Image) -> Image.Image:
        pixels = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
        out = network(pixels).clamp(0, 1)[0].permute(1, 2, 0).numpy()
        return Image.fromarray((out * 255).round().astype(np.uint8))

    return enlarge


def by_filter(method: Image.Resampling) -> Enlarge:
    """A resampling filter of Pillow."""
    return lambda image: image.resize((image.width * 2, image.height * 2), method)


def measure(
    pairs: list[tuple[Image.Image, Pixels]], ways: dict[str, Enlarge]
) -> dict[str, dict[str, float]]:
    """Mean PSNR and SSIM of each way over pairs of small and true pictures."""
    found = {}
    for name, enlarge in ways.items():
        made = [(np.asarray(enlarge(small)), true) for small, true in pairs]
        found[name] = {
            "psnr": round(float(np.mean([psnr(a, b) for a, b in made])), 2),
            "ssim": round(float(np.mean([ssim(a, b) for a, b in made])), 4),
        }
    return found


def reduced(true: Pixels) -> Image.Image:
    """Half the size by averaging two by two pixels."""
    image = Image.fromarray(true)
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)


def held(one: Set, most: int) -> list[int]:
    """Places of held-out pictures, spread evenly over the set."""
    places = np.flatnonzero(one.held)
    return [int(i) for i in places[:: max(1, len(places) // most)][:most]]


def photographs() -> list[Pixels]:
    """The middle of scikit-learn's two sample photographs (CC-BY 2.0), 256 px."""
    from sklearn.datasets import load_sample_images

    cut = []
    for image in load_sample_images().images:
        top, left = (image.shape[0] - 256) // 2, (image.shape[1] - 256) // 2
        cut.append(np.ascontiguousarray(image[top : top + 256, left : left + 256]))
    return cut


def sheet(rows: list[tuple[str, list[Image.Image]]], titles: list[str], path: Path) -> None:
    """Rows of pictures side by side, with what each column is."""
    side, head = 256, 18
    whole = Image.new("RGB", (side * len(titles), (side + head) * len(rows)), "white")
    draw = ImageDraw.Draw(whole)
    for y, (name, pictures) in enumerate(rows):
        for x, picture in enumerate(pictures):
            whole.paste(
                picture.resize((side, side), Image.Resampling.NEAREST),
                (x * side, y * (side + head) + head),
            )
            draw.text((x * side + 4, y * (side + head) + 3), f"{titles[x]}: {name}", fill=0)
    whole.quantize(200).save(path, optimize=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--most", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    small, large = load(options.out)
    assert small.small is not None
    ways = {
        "nearest": by_filter(Image.Resampling.NEAREST),
        "bicubic": by_filter(Image.Resampling.BICUBIC),
        "lanczos": by_filter(Image.Resampling.LANCZOS),
        "starter upscaler": by_network(options.weights),
    }
    places, places_large = held(small, options.most), held(large, options.most // 3)
    clean = [(reduced(small.pixels[i]), small.pixels[i]) for i in places]
    smeared = [(Image.fromarray(small.small[i]), small.pixels[i]) for i in places]
    bigger = [(reduced(large.pixels[i]), large.pixels[i]) for i in places_large]
    photos = [(reduced(image), image) for image in photographs()]
    result: dict[str, Any] = {
        "pictures": {"icons": len(places), "icons_512": len(places_large), "photographs": 2},
        "icons reduced by two (128 to 256 px)": measure(clean, ways),
        "icons through the starter's autoencoder (128 to 256 px)": measure(smeared, ways),
        "icons reduced by two (256 to 512 px)": measure(bigger, ways),
        "photographs reduced by two (128 to 256 px)": measure(photos, ways),
    }
    print(json.dumps(result, indent=2))
    CARD.mkdir(exist_ok=True)
    (CARD / "upscaler.json").write_text(json.dumps(result, indent=2) + "\n")
    shown = ["nearest", "lanczos", "starter upscaler"]
    rows = []
    for name, pairs in (("icon", clean[5:7]), ("starter's", smeared[5:8]), ("photo", photos[:1])):
        for given, true in pairs:
            crop = (64, 64, 192, 192)
            made = [ways[way](given).crop(crop) for way in shown]
            rows.append((name, [*made, Image.fromarray(true).crop(crop)]))
    sheet(rows, [*shown, "true"], CARD / "upscaler.png")


if __name__ == "__main__":
    main()
