"""Puts the text and picture stages together: what the worker needs.

Importing this file is light; libraries are imported in each stage's ``load``.
"""

from __future__ import annotations

from moderation.pipeline import Observer, Pipeline
from moderation.stages.nudenet import NudeNetStage
from moderation.stages.terms import TermsStage


def output_pipeline(timeout_s: float = 10.0, observe: Observer | None = None) -> Pipeline:
    """Text and pictures: outputs, previews, uploads and answers. Loads in half a second.

    Give the prompt of a picture as ``Content.context``: nudity is graver beside a minor.
    """
    terms = TermsStage()
    nudity = NudeNetStage(names_minor=terms.mentions_minor)
    return Pipeline([terms, nudity], timeout_s=timeout_s, observe=observe)
