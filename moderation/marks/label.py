"""The visible label that China's rules ask for: a few words in a corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.marks.facts import Facts, LabelProfile

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

SHARE = 0.06
"""Height of the letters over the picture's shorter side; GB 45438-2025 asks for at least 0.05."""

TEXT = "AI生成"
PLAIN_TEXT = "AIGC"
"""Where no Chinese font is installed: the letters the rules themselves use."""

_SMALLEST = 8
_CHINESE_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf",
    "wqy-zenhei.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
)  # fmt: skip


def wants_label(facts: Facts) -> bool:
    """Whether the profile asks for visible words."""
    return facts.profile is LabelProfile.CN


def draw_label(image: Image) -> Image:
    """The picture with the label in its lower right corner, on a veil that keeps it readable.

    Modes other than RGB and RGBA come back as RGB.
    """
    from PIL import Image as pillow
    from PIL import ImageDraw

    least = max(_SMALLEST, round(min(image.size) * SHARE))
    text, font = _text_and_font(least)
    canvas = image.convert("RGBA")
    layer = pillow.new("RGBA", canvas.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(2, least // 3)
    x, y = canvas.width - (right - left) - 2 * pad, canvas.height - (bottom - top) - 2 * pad
    draw.rectangle((x, y, canvas.width, canvas.height), fill=(0, 0, 0, 150))
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=(255, 255, 255, 255))
    merged = pillow.alpha_composite(canvas, layer)
    return merged if image.mode == "RGBA" else merged.convert("RGB")


def _text_and_font(least: int) -> tuple[str, ImageFont | FreeTypeFont]:
    """The words and a font whose capitals are at least ``least`` pixels high."""
    from PIL import ImageFont

    for name in _CHINESE_FONTS:
        try:
            ImageFont.truetype(name, least)
        except OSError:
            continue
        return TEXT, ImageFont.truetype(name, round(least * 1.4))
    size = least
    while True:
        font = ImageFont.load_default(size)
        _, top, _, bottom = font.getbbox("A")
        if bottom - top >= least:
            return PLAIN_TEXT, font
        size += 1
