"""The watermark is not seen, survives what platforms do to pictures, and is not found by chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from moderation.marks.watermark import SMALLEST, TAG_BITS, embed, read
from tests.marks.pictures import again, icon, photo, psnr

TAG = 0xA51E77 & ((1 << TAG_BITS) - 1)
PICTURES = {
    "photo": photo(),
    "wide photo": photo(512, 192, seed=1),
    "icon": icon(),
    "another icon": icon(3),
    "white": Image.new("RGB", (128, 128), "white"),
    "black": Image.new("RGB", (200, 128), "black"),
}


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda i: i,
    "JPEG 70": lambda i: again(i, "JPEG", quality=70),
    "WebP 80": lambda i: again(i, "WEBP", quality=80),
    "half the size": halved,
    "half and back": lambda i: halved(i).resize(i.size, Image.Resampling.BICUBIC),
    "other proportions": lambda i: i.resize((300, 340), Image.Resampling.BICUBIC),
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned, JPEG 70": lambda i: again(i.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=70),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", PICTURES)
def test_it_survives(name: str, change: str) -> None:
    marked = embed(PICTURES[name], TAG)
    found = read(CHANGES[change](marked))
    assert found is not None and found.tag == TAG


def test_a_larger_picture_survives_two_changes_at_once() -> None:
    for name in ("photo", "wide photo"):
        marked = embed(PICTURES[name], TAG)
        found = read(again(halved(marked).resize(marked.size), "WEBP", quality=80))
        assert found is not None and found.tag == TAG


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_not_seen(name: str) -> None:
    picture = PICTURES[name]
    marked = embed(picture, TAG)
    assert marked.size == picture.size and marked.mode == picture.mode
    print(name, round(psnr(picture, marked), 1), "dB")
    assert psnr(picture, marked) >= 38.0
    difference = np.abs(np.asarray(picture, dtype=int) - np.asarray(marked, dtype=int))
    assert difference.max() <= 24


def test_nothing_is_found_where_nothing_is() -> None:
    rng = np.random.default_rng(7)
    noise = [Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)) for _ in range(150)]
    plain = [*PICTURES.values(), *(icon(seed) for seed in range(20, 40)), *noise]
    assert [read(image) for image in plain] == [None] * len(plain)


def test_every_tag_comes_back() -> None:
    for tag in (0, 1, (1 << TAG_BITS) - 1, 0x123456):
        found = read(embed(PICTURES["icon"], tag))
        assert found is not None and found.tag == tag
    with pytest.raises(ValueError, match="range"):
        embed(PICTURES["icon"], 1 << TAG_BITS)


def test_alpha_and_small_pictures_are_left_alone() -> None:
    veiled = photo().convert("RGBA")
    veiled.putalpha(Image.linear_gradient("L").resize(veiled.size))
    marked = embed(veiled, TAG)
    assert marked.getchannel("A").tobytes() == veiled.getchannel("A").tobytes()
    assert read(marked) is not None
    tiny = Image.new("RGB", (SMALLEST - 1, 200))
    assert embed(tiny, TAG) is tiny and read(tiny) is None
