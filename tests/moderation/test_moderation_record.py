"""What a judgement leaves behind: storable whatever was typed, sealed where the law says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from moderation.pdq import pdq
from moderation.pipeline import Content, Judgement
from moderation.policy import DEFAULT_POLICY, Surface, decide
from moderation.record import About, record_of
from storage import decisions
from storage.database import Database
from storage.schema import Category, Flag
from storage.vault import Vault
from tests.conftest import actor


@pytest.mark.parametrize(
    "text", ["smile \\ud83d\\u0041 cat", "100%00%00 sure", "a\x00b", "\ud800 half", "\\x00\\x41"]
)
def test_codes_that_decode_to_nothing_storable_are_stored_all_the_same(
    text: str, database: Database
) -> None:
    space = actor(database).workspace.id
    verdict = decide([], DEFAULT_POLICY, Surface.PROMPT)
    judged = Judgement(verdict=verdict, scores={}, versions={}, ms=1.0)
    row = record_of(judged, Content(Surface.PROMPT, text=text), DEFAULT_POLICY, About(space), 1)
    assert database.write(decisions.keep, row)


def test_of_a_sealed_picture_its_words_are_sealed_and_its_hash_is_kept(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path)
    found = Flag(category=Category.CSAE, score=1.0, stage="image.nudity")
    verdict = decide([found], DEFAULT_POLICY, Surface.OUTPUT)
    judged = Judgement(verdict=verdict, scores={}, versions={}, ms=1.0)
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    content = Content(Surface.OUTPUT, image=image, context=("what was typed", "before"))
    row = record_of(judged, content, DEFAULT_POLICY, About("w"), 1, vault)
    assert row.sealed is not None and row.text == ""
    assert vault.unseal(row.sealed, row.id) == "what was typed\nbefore"
    assert row.image_hash == pdq(image).digits
