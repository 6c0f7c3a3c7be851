"""The timeline of a job: every moment in its lane, nothing of a member's words unescaped."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bot.cli.files import BadOut
from bot.cli.timeline import Moment, check_trace, lanes, save_trace, svg
from bot.core.reply import Reply

LIFE = [
    Moment("asked", 100.0, 0), Moment("judged", 100.001, 0.003), Moment("reserved", 100.005, 0.004),
    Moment("ticket", 100.01, 0.002), Moment("claimed", 100.05, 0), Moment("begin", 100.06, 0.01),
    *(Moment("step", 100.07 + n / 10, 0.09, batch=1 + n % 3, index=n % 2) for n in range(8)),
    Moment("decode", 100.9, 0.02), Moment("gate", 100.95, 0.05), Moment("encode", 101.0, 0.03),
    Moment("store", 101.03, 0.01), Moment("settle", 101.05, 0.005), Moment("delivered", 101.1, 0),
]  # fmt: skip


def test_every_moment_is_drawn_once_in_its_lane() -> None:
    found = lanes(LIFE)
    assert [name for name, _ in found] == [
        "bot", "in line", "picture 1", "picture 2", "check, keep",
    ]  # fmt: skip
    drawn = [m for _, rows in found for m in rows]
    assert sorted(m.name for m in drawn) == sorted([*(m.name for m in LIFE), "waiting"])
    waiting = next(m for m in drawn if m.name == "waiting")
    assert waiting.at + waiting.seconds == pytest.approx(100.05)


def test_the_drawing_is_well_formed_and_nothing_leaves_it() -> None:
    drawing = svg(LIFE, title='<script>alert("x")</script> & more')
    root = ElementTree.fromstring(drawing)
    width = float(root.attrib["width"])
    assert "<script>" not in drawing
    for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(bar.get("x", 0)) + float(bar.attrib["width"]) <= width + 2
    assert "8 steps" in drawing and "up to 3 pictures a step" in drawing


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_it_is_written_as_asked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"life.{suffix}"
    save_trace(path, LIFE, Reply(prompt="a red apple", job_id="J"))
    head = path.read_bytes()[:8]
    assert head.startswith(b"<svg") if suffix == "svg" else head == b"\x89PNG\r\n\x1a\n"


def test_a_place_that_cannot_be_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    for name in ("life.gif", "no/such/folder.svg"):
        with pytest.raises(BadOut):
            check_trace(tmp_path / name)
