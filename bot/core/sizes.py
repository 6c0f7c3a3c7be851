"""Sizes, aspects and margins: what a member types, as pixels a model can draw."""

from __future__ import annotations

import math
import re

from storage.errors import BadInput
from storage.registry import ModelCard
from storage.schema import Margins, Source

SHORTEST_SIDE = 64
ASPECTS: dict[str, tuple[int, int]] = {
    "1:1": (1, 1),
    "3:4": (3, 4),
    "4:3": (4, 3),
    "2:3": (2, 3),
    "3:2": (3, 2),
    "4:5": (4, 5),
    "5:4": (5, 4),
    "9:16": (9, 16),
    "16:9": (16, 9),
    "21:9": (21, 9),
}
"""Presets by their usual names, width to height."""
WORDS = {"square": "1:1", "portrait": "3:4", "landscape": "4:3", "wide": "16:9", "tall": "9:16"}
_SIZE = re.compile(r"^(\d{1,5})\s*[x×*X]\s*(\d{1,5})$")
_RATIO = re.compile(r"^(\d{1,2})\s*:\s*(\d{1,2})$")
_SIDE = re.compile(r"(left|right|top|up|bottom|down|all|zoom)\s*[:=]?\s*(\d{1,4}(?:\.\d{1,3})?)?")
_SIDES = {
    "left": ("left",),
    "right": ("right",),
    "top": ("top",),
    "up": ("top",),
    "bottom": ("bottom",),
    "down": ("bottom",),
    "all": ("left", "top", "right", "bottom"),
}


def grain(native: int) -> int:
    """Sides are offered in multiples of this: 64 as the large models learned, 16 for small ones."""
    return 64 if native >= 512 else 16


def sized(card: ModelCard, across: float, down: float) -> tuple[int, int]:
    """The size of an aspect at the model's own number of pixels, its sides within what it can."""
    area = card.width * card.height
    step = grain(card.width)
    width = math.sqrt(area * across / down)
    height = width * down / across
    shrink = min(1.0, card.max_side / max(width, height))

    def side(length: float) -> int:
        rounded = round(length * shrink / step) * step
        return max(SHORTEST_SIDE, min(card.max_side // 8 * 8, rounded))

    return side(width), side(height)


def sizes_of(card: ModelCard) -> tuple[str, ...]:
    """Sizes to offer, the model's own first. Others may be typed."""
    offered = [f"{card.width}x{card.height}"]
    for across, down in ASPECTS.values():
        width, height = sized(card, across, down)
        offered.append(f"{width}x{height}")
    return tuple(dict.fromkeys(offered))


def parse_size(size: str, card: ModelCard) -> tuple[int, int]:
    """Width and height in pixels of ``128x96``, ``16:9`` or an aspect word.

    Raises ``BadInput``: ``size_invalid``, ``size_not_multiple`` or ``size_range``.
    """
    if not size:
        return card.width, card.height
    wanted = WORDS.get(size.strip().lower(), size.strip())
    if wanted == "1:1":
        return card.width, card.height
    if ratio := _RATIO.fullmatch(wanted):
        across, down = int(ratio[1]), int(ratio[2])
        if not across or not down or not 1 / 4 <= across / down <= 4:
            raise BadInput("size_invalid", example="16:9")
        return sized(card, across, down)
    match = _SIZE.fullmatch(wanted)
    if match is None:
        raise BadInput("size_invalid", example=f"{card.width}x{card.height}")
    width, height = int(match[1]), int(match[2])
    if not all(SHORTEST_SIDE <= side <= card.max_side for side in (width, height)):
        raise BadInput("size_range", minimum=SHORTEST_SIDE, maximum=card.max_side)
    if width % 8 or height % 8:
        near = f"{round(width / 8) * 8}x{round(height / 8) * 8}"
        raise BadInput("size_not_multiple", near=near)
    return width, height


def size_like(start: Source, card: ModelCard) -> tuple[int, int]:
    """A size of the start picture's shape that the model draws well: its own when that is near."""
    if start.width % 8 == 0 == start.height % 8:
        area = start.width * start.height / (card.width * card.height)
        if max(start.width, start.height) <= card.max_side and 0.5 <= area <= 1.5:
            return start.width, start.height
    return sized(card, start.width, start.height)


def parse_margins(text: str, start: Source, card: ModelCard) -> tuple[int, int, Margins]:
    """Result size and margins of ``left 64``, ``left, right``, ``all 32`` or ``zoom 1.5``.

    A side without a number gets half the picture's side along it; ``zoom`` keeps the size and
    shrinks the picture within. What would be larger than the model can draw is scaled down with
    the picture in it. Raises ``BadInput('outpaint_invalid')``.
    """
    found = list(_SIDE.finditer(text.lower()))
    rest = _SIDE.sub("", text.lower()).strip(" ,;+px")
    if not found or rest:
        raise BadInput("outpaint_invalid")
    width, height = size_like(start, card)
    scale = width / start.width
    add = dict.fromkeys(("left", "top", "right", "bottom"), 0.0)
    for match in found:
        word, number = match[1], match[2]
        if word == "zoom":
            factor = float(number or 1.5)
            if not 1 < factor <= 4:
                raise BadInput("outpaint_invalid")
            for name in add:
                side = width if name in ("left", "right") else height
                add[name] = max(add[name], side * (factor - 1) / 2)
            continue
        for name in _SIDES[word]:
            side = width if name in ("left", "right") else height
            add[name] = float(number) * scale if number else side / 2
    if max(add.values()) < 8:
        raise BadInput("outpaint_invalid")
    zooming = any(match[1] == "zoom" for match in found)
    return fitted(width, height, add, width if zooming else card.max_side, card)


def fitted(
    width: int, height: int, add: dict[str, float], longest: int, card: ModelCard
) -> tuple[int, int, Margins]:
    """The result of adding to a picture, no side longer than ``longest`` pixels."""
    whole = (width + add["left"] + add["right"], height + add["top"] + add["bottom"])
    shrink = min(1.0, max(longest, height if longest == width else 0) / max(whole))
    total = [max(SHORTEST_SIDE, round(side * shrink / 8) * 8) for side in whole]
    total = [min(side, card.max_side // 8 * 8, 2048) for side in total]
    left, top, right, bottom = (
        min(1024, round(add[name] * shrink / 8) * 8) for name in ("left", "top", "right", "bottom")
    )
    # At least a third of each side stays the picture's own.
    left, right = _within(left, right, total[0] * 2 // 3)
    top, bottom = _within(top, bottom, total[1] * 2 // 3)
    return total[0], total[1], Margins(left=left, top=top, right=right, bottom=bottom)


def _within(one: int, other: int, most: int) -> tuple[int, int]:
    if one + other <= most:
        return one, other
    share = most / (one + other)
    return int(one * share) // 8 * 8, int(other * share) // 8 * 8


def draft_factor(card: ModelCard) -> float:
    """How much smaller a draft's sides are: 512 px where the model draws 1024 or more, else half;
    three quarters for the smallest models, which draw nothing whole below that."""
    if card.width >= 1024:
        return 512 / card.width
    return 0.5 if card.width >= 256 else 0.75


def draft_size(width: int, height: int, card: ModelCard) -> tuple[int, int]:
    """A draft's size, in the same shape."""
    factor = draft_factor(card)
    step = grain(card.width) if card.width * factor >= 512 else 8

    def side(length: int) -> int:
        return max(SHORTEST_SIDE, round(length * factor / step) * step)

    return side(width), side(height)
