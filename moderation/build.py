"""Puts the stages together: what the bot needs and what the worker needs.

Imports stay inside the functions, and heavy libraries inside each stage's ``load``: the bot's
image holds neither nudenet nor torch.
"""

from __future__ import annotations

from moderation.pipeline import Observer, Pipeline


def prompt_pipeline(timeout_s: float = 10.0, observe: Observer | None = None) -> Pipeline:
    """Text only: prompts, negative prompts, names and answers. Loads in 0.1 s.

    A picture given to it is held, because nothing here can see it.
    """
    from moderation.stages.terms import TermsStage

    return Pipeline([TermsStage()], timeout_s=timeout_s, observe=observe)


def output_pipeline(timeout_s: float = 10.0, observe: Observer | None = None) -> Pipeline:
    """Text and pictures: outputs, previews, uploads and answers.

    Give the prompt of a picture as ``Content.context``: nudity is graver beside a minor.
    """
    from moderation.stages.nudenet import NudeNetStage
    from moderation.stages.terms import TermsStage

    terms = TermsStage()
    nudity = NudeNetStage(names_minor=terms.mentions_minor)
    return Pipeline([terms, nudity], timeout_s=timeout_s, observe=observe)
