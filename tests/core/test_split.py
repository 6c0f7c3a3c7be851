"""Long answers come whole, in parts that fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.split import split_markdown

PIECES = st.lists(
    st.sampled_from(
        ["word ", "A sentence. ", "一句话。", "\n\n", "\n", "- item\n", "x" * 90 + " ", "`code` "]
    ),
    max_size=120,
)


def ink(text: str) -> str:
    """What is left when white space does not count."""
    return re.sub(r"\s+", "", text)


@given(pieces=PIECES, limit=st.integers(32, 400))
def test_nothing_is_lost_and_every_part_fits(pieces: list[str], limit: int) -> None:
    text = "".join(pieces)
    parts = split_markdown(text, limit)
    assert all(0 < len(part) <= limit for part in parts)
    assert ink("".join(parts)) == ink(text)


@given(lines=st.lists(st.text("ab c1", max_size=30), min_size=1, max_size=60))
def test_a_code_block_is_closed_and_opened_again(lines: list[str]) -> None:
    code = "\n".join(lines)
    parts = split_markdown(f"Look:\n\n```python\n{code}\n```\n\nDone.", 120)
    for part in parts:
        assert len(part) <= 120
        assert len(re.findall(r"^```", part, flags=re.M)) % 2 == 0
    bare = "\n".join(re.sub(r"^```(python)?$", "", part, flags=re.M) for part in parts)
    assert ink(bare) == ink(f"Look:{code}Done.")


def test_parts_end_between_paragraphs() -> None:
    text = "\n\n".join(f"Paragraph {n}. " + "word " * 10 for n in range(8))
    parts = split_markdown(text, 150)
    assert len(parts) == 4
    assert all(part.startswith("Paragraph") for part in parts)


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_an_open_fence_stays_code(fence: str) -> None:
    parts = split_markdown(f"{fence}js\n" + "let x = 1;\n" * 40, 100)
    assert all(p.startswith(f"{fence}js\n") and p.endswith(f"\n{fence}") for p in parts[:-1])


def test_of_nothing_there_is_no_part() -> None:
    assert split_markdown("", 100) == []
    assert split_markdown(" \n\n ", 100) == []
