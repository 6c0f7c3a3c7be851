"""Renders the icon sets to pictures on white and caches them as one array file.

Get the sets first, anywhere outside the repository::

    npm install @iconify-json/fluent-emoji-flat @iconify-json/noto \
        @iconify-json/twemoji @lobehub/fluent-emoji-3d

then ``python -m worker.starter.data NODE_MODULES --out var/starter``.
Pictures are uint8, 128 x 128 px, RGB. The cache holds, per picture, its icon
name (of the flat set), its style and the colour word it was recoloured to ("").
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
import resvg_py
from PIL import Image

from worker.starter.names import COLOURS, is_useful

SIZE = 128
"""Native edge of a picture, in pixels."""

Pixels = npt.NDArray[np.uint8]

SETS = {"flat": "fluent-emoji-flat", "soft": "noto", "cartoon": "twemoji"}


@dataclass
class Icons:
    """All rendered pictures: `pixels` is (n, 128, 128, 3); the lists have n items."""

    pixels: Pixels
    names: list[str]
    styles: list[str]
    colours: list[str]

    def save(self, path: Path) -> None:
        """Write the cache file (a NumPy archive)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            pixels=self.pixels,
            names=np.array(self.names),
            styles=np.array(self.styles),
            colours=np.array(self.colours),
        )

    @classmethod
    def load(cls, path: Path) -> Icons:
        """Read the cache file. Raises FileNotFoundError when it was not rendered yet."""
        with np.load(path) as data:
            return cls(
                data["pixels"],
                data["names"].tolist(),
                data["styles"].tolist(),
                data["colours"].tolist(),
            )


def render(svg: str, size: int = SIZE) -> Pixels:
    """One SVG document as (size, size, 3) pixels on white."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    return on_white(Image.open(io.BytesIO(bytes(png))), size)


def on_white(picture: Image.Image, size: int = SIZE) -> Pixels:
    """The picture fitted to size x size on a white ground."""
    picture = picture.convert("RGBA")
    if picture.size != (size, size):
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", (size, size), "white")
    ground.alpha_composite(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return np.asarray(ground.convert("RGB"))


def _codes(folder: Path) -> dict[str, str]:
    """Icon name to the code points of its emoji, without variation selectors."""
    chars: dict[str, str] = json.loads((folder / "chars.json").read_text())
    return {name: code.replace("-fe0f", "") for code, name in chars.items()}


def svg_of(data: dict[str, Any], name: str) -> str:
    """The SVG document of one icon of an iconify set."""
    icon = data["icons"][name]
    width = icon.get("width", data.get("width", 16))
    height = icon.get("height", data.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )


def _hsv(pixels: Pixels) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(pixels).convert("HSV"), dtype=np.float32)


def dominant_hue(pixels: Pixels) -> float | None:
    """The hue (0 to 360) most of the picture's colour has, or None when it has no single one."""
    hsv = _hsv(pixels)
    hue, strong = hsv[..., 0] * 360 / 255, (hsv[..., 1] > 70) & (hsv[..., 2] > 60)
    if strong.mean() < 0.10:
        return None
    angle = np.deg2rad(hue[strong])
    mean = float(np.rad2deg(np.arctan2(np.sin(angle).mean(), np.cos(angle).mean())) % 360)
    away = np.abs((hue[strong] - mean + 180) % 360 - 180)
    return mean if (away < 30).mean() > 0.72 else None


def colour_word(hue: float) -> str:
    """The colour word nearest to a hue in degrees."""
    return min(COLOURS, key=lambda word: abs((COLOURS[word][0] - hue + 180) % 360 - 180))


def recolour(pixels: Pixels, hue: float, word: str) -> Pixels:
    """The picture with its dominant `hue` turned to the colour `word`."""
    target, saturation, value = COLOURS[word]
    hsv = _hsv(pixels)
    degrees = hsv[..., 0] * 360 / 255
    near = (np.abs((degrees - hue + 180) % 360 - 180) < 45) & (hsv[..., 1] > 12)
    moved = hsv.copy()
    moved[..., 0] = ((degrees + target - hue) % 360) * 255 / 360
    moved[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    moved[..., 2] = np.clip(hsv[..., 2] * value, 0, 255)
    hsv = np.where(near[..., None], moved, hsv)
    return np.asarray(Image.fromarray(hsv.round().astype(np.uint8), "HSV").convert("RGB"))


def build(node_modules: Path) -> Icons:
    """Render every useful icon in every style, and recoloured flat ones."""
    flat_dir = node_modules / "@iconify-json" / SETS["flat"]
    categories = json.loads((flat_dir / "metadata.json").read_text())["categories"]
    names = sorted(
        name
        for category, members in categories.items()
        for name in members
        if is_useful(name, category)
    )
    code_of = _codes(flat_dir)
    names = [name for name in names if name in code_of]
    out = Icons(np.zeros((0,), np.uint8), [], [], [])
    pixels: list[Pixels] = []

    def add(picture: Pixels, name: str, style: str, colour: str = "") -> None:
        pixels.append(picture)
        out.names.append(name)
        out.styles.append(style)
        out.colours.append(colour)

    for style, folder in SETS.items():
        base = node_modules / "@iconify-json" / folder
        data = json.loads((base / "icons.json").read_text())
        by_code = {code: name for name, code in _codes(base).items()}
        for name in names:
            icon = by_code.get(code_of[name])
            if icon in data["icons"]:
                add(render(svg_of(data, str(icon))), name, style)
    assets = node_modules / "@lobehub" / "fluent-emoji-3d" / "assets"
    files = {path.stem.replace("-fe0f", ""): path for path in assets.glob("*.webp")}
    for name in names:
        if code_of[name] in files:
            add(on_white(Image.open(files[code_of[name]])), name, "3d")
    for index in range(len(names)):
        hue = dominant_hue(pixels[index])
        if hue is None:
            continue
        own = colour_word(hue)
        add(pixels[index], names[index], "flat", own)
        for word in COLOURS:
            if word != own:
                add(recolour(pixels[index], hue, word), names[index], "flat", word)
    out.pixels = np.stack(pixels)
    return out


def main() -> None:
    """Command line: render the sets and write the cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("node_modules", type=Path)
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    options = parser.parse_args()
    icons = build(options.node_modules)
    icons.save(options.out / "icons.npz")
    for style in [*SETS, "3d"]:
        count = sum(
            1 for s, c in zip(icons.styles, icons.colours, strict=True) if s == style and not c
        )
        print(style, count)
    print("recoloured", sum(1 for colour in icons.colours if colour))


if __name__ == "__main__":
    main()
