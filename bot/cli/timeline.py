"""`atelier imagine --trace FILE`: one job's life as a picture, from the question to the file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bot.cli.files import BadOut
from bot.core.reply import Reply
from storage.queue import Wire

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 1200, 132, 40, 92, 34, 20
"""Pixels: the whole, the margins, a lane and its bars."""
COLOURS = {
    "asked": "#64748b", "judged": "#a855f7", "reserved": "#0ea5e9", "ticket": "#0ea5e9",
    "waiting": "#cbd5e1", "claimed": "#64748b", "load": "#f59e0b", "begin": "#facc15",
    "step": "#2563eb", "decode": "#7c3aed", "gate": "#a855f7", "encode": "#14b8a6",
    "store": "#0d9488", "settle": "#0ea5e9", "delivered": "#16a34a",
}  # fmt: skip
_BOT = ("asked", "judged", "reserved", "ticket", "delivered")
_AFTER = ("gate", "encode", "store", "settle")


@dataclass(frozen=True)
class Moment:
    """Something that happened: ``at`` in seconds since the epoch, ``seconds`` long."""

    name: str
    at: float
    seconds: float
    batch: int = 1
    index: int = 0


async def heard(wire: Wire, job_id: str) -> list[Moment]:
    """What bot and worker noted of a job, and that its card is here now."""
    found = [_moment(raw) for raw in await wire.trace(job_id)]
    return [*found, Moment("delivered", time.time(), 0.0)]


def _moment(raw: dict[str, Any]) -> Moment:
    return Moment(
        str(raw["name"]), float(raw["at"]), float(raw.get("seconds", 0)),
        int(raw.get("batch", 1)), int(raw.get("index", 0)),
    )  # fmt: skip


def check_trace(path: Path) -> None:
    """Refuse a place for the drawing before anything is paid. Raises ``BadOut``."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise BadOut("a timeline is an .svg or .png file")
    if not path.parent.is_dir():
        raise BadOut(f"the folder {path.parent} does not exist")


def save_trace(path: Path, moments: list[Moment], reply: Reply) -> None:
    """Draw the timeline into a file; PNG is drawn from the same SVG."""
    drawing = svg(moments, title=f"{reply.prompt[:90]}   (job {reply.job_id})")
    if path.suffix.lower() == ".svg":
        path.write_text(drawing, encoding="utf-8")
        return
    import resvg_py

    path.write_bytes(bytes(resvg_py.svg_to_bytes(svg_string=drawing)))


def lanes(moments: list[Moment]) -> list[tuple[str, list[Moment]]]:
    """Who did what, top to bottom: the bot, the line, the engine picture by picture, the rest."""
    named = {moment.name: moment for moment in moments}
    found = [("bot", [m for m in moments if m.name in _BOT])]
    if "claimed" in named and "asked" in named:
        since = max((m.at + m.seconds for m in moments if m.name in ("reserved",)), default=0.0)
        since = since or named["asked"].at
        waiting = Moment("waiting", since, max(0.0, named["claimed"].at - since))
        found.append(("in line", [waiting, named["claimed"]]))
    engine = [m for m in moments if m.name in ("load", "begin", "step", "decode")]
    indices = sorted({m.index for m in engine})
    for index in indices:
        name = "engine" if len(indices) == 1 else f"picture {index + 1}"
        found.append((name, [m for m in engine if m.index == index]))
    found.append(("check, keep", [m for m in moments if m.name in _AFTER]))
    return [(name, rows) for name, rows in found if rows]


def svg(moments: list[Moment], *, title: str) -> str:
    """The drawing. Pure; every text is escaped."""
    start = min(m.at for m in moments)
    span = max(max(m.at + m.seconds for m in moments) - start, 1e-3)
    rows = lanes(moments)
    height = TOP + len(rows) * ROW + 92
    scale = (WIDTH - LEFT - RIGHT) / span

    def x(at: float) -> float:
        return LEFT + (at - start) * scale

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="DejaVu Sans, Verdana, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 32, title, size=16, weight="bold"),
        _text(LEFT, 54, _summary(moments, span), size=12, colour="#475569"),
    ]
    step = _tick(span)
    for n in range(int(span / step) + 1):
        at = LEFT + n * step * scale
        low = TOP + len(rows) * ROW
        parts.append(f'<path d="M{at:.1f} {TOP - 12}V{low}" stroke="#e2e8f0" stroke-width="1"/>')
        parts.append(
            _text(at, TOP - 16, _time(n * step, step), size=11, colour="#64748b", middle=True)
        )
    for number, (name, found) in enumerate(rows):
        y = TOP + number * ROW + (ROW - BAR) / 2
        parts.append(_text(LEFT - 12, y + BAR - 5, name, size=12, colour="#0f172a", end=True))
        parts += [_bar(m, x(m.at), y, m.seconds * scale) for m in found]
    parts += _legend(moments, TOP + len(rows) * ROW + 34)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _summary(moments: list[Moment], span: float) -> str:
    steps = [m for m in moments if m.name == "step"]
    busy = sum(m.seconds for m in moments if m.name in ("load", "begin", "step", "decode"))
    told = f"{span * 1000:.0f} ms from the question to the card"
    if steps:
        shared = max(m.batch for m in steps)
        told += f"; {len(steps)} steps, {busy * 1000:.0f} ms in the engine"
        told += f", up to {shared} pictures a step" if shared > 1 else ", alone"
    return told


def _bar(moment: Moment, x: float, y: float, width: float) -> str:
    colour = COLOURS.get(moment.name, "#94a3b8")
    told = f"{moment.name}: {moment.seconds * 1000:.1f} ms"
    if moment.name == "step":
        told += f", {moment.batch} together"
    if not moment.seconds:
        shape = f'<path d="M{x:.1f} {y - 3}v{BAR + 6}" stroke="{colour}" stroke-width="2.5"/>'
    else:
        # A hair apart, so that steps can be counted; a short one still shows.
        wide = max(1.5, width - 0.8)
        shape = (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BAR}" rx="2" '
            f'fill="{colour}"/>'
        )
        if moment.name == "step" and wide > 11:
            shape += _text(x + wide / 2, y + 14, str(moment.batch), size=10, colour="#ffffff",
                           middle=True)  # fmt: skip
    return f"<g><title>{escape(told)}</title>{shape}</g>"


def _legend(moments: list[Moment], y: float) -> list[str]:
    parts: list[str] = []
    seen = list(dict.fromkeys(m.name for m in moments))
    column = (WIDTH - LEFT - RIGHT) / 7
    for number, name in enumerate(seen):
        x, low = LEFT + number % 7 * column, y + number // 7 * 22
        took = sum(m.seconds for m in moments if m.name == name)
        colour = COLOURS.get(name, "#94a3b8")
        parts.append(f'<rect x="{x:.1f}" y="{low - 9}" width="10" height="10" fill="{colour}"/>')
        told = f"{name} {took * 1000:.0f} ms" if took else name
        parts.append(_text(x + 15, low, told, size=11, colour="#334155"))
    return parts


def _tick(span: float) -> float:
    """A round step that gives five to twelve marks."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= 12:
                return step * factor
        step *= 10


def _time(seconds: float, step: float) -> str:
    return f"{seconds * 1000:.0f} ms" if step < 0.1 else f"{seconds:.1f} s"


def _text(
    x: float, y: float, text: str, *, size: int, colour: str = "#0f172a", weight: str = "normal",
    middle: bool = False, end: bool = False,
) -> str:  # fmt: skip
    anchor = "middle" if middle else "end" if end else "start"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )
