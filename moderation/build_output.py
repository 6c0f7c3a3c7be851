"""Puts the text and picture stages together: what the worker needs.

Importing this file is light; libraries are imported in each stage's ``load``.
"""

from __future__ import annotations

from moderation.build import text_stages
from moderation.pipeline import Observer, Pipeline, Stage
from moderation.stages.bank import BankStage
from moderation.stages.guard import GuardStage, qwen3guard
from moderation.stages.nudity import NudityStage
from moderation.stages.ocr import PictureTextStage


def output_pipeline(
    timeout_s: float = 10.0, observe: Observer | None = None, bank: BankStage | None = None,
    guard: str = "", device: str = "cpu",
) -> Pipeline:  # fmt: skip
    """Text and pictures: outputs, previews, uploads and answers. Loads in two seconds.

    Give the prompt of a picture as ``Content.context``: nudity is graver beside a minor. ``bank``
    is kept filled by whoever made it; ``guard`` names a guard model that is asked as well.
    """
    stages = text_stages()
    terms = stages[0]
    pictures: list[Stage] = [
        NudityStage(names_minor=terms.mentions_minor, names_sexual=terms.mentions_sex),
        PictureTextStage([terms]),
        bank or BankStage(),
    ]
    guards: list[Stage] = [GuardStage(qwen3guard(guard, device), guard)] if guard else []
    return Pipeline([*stages, *guards, *pictures], timeout_s=timeout_s, observe=observe)
