"""Puts the text stages together: what the bot needs.

The worker's pipeline, which also sees pictures, is in ``moderation.build_output``. Two files,
so that no chain of imports leads from the bot to nudenet and the bot's image stays small.
"""

from __future__ import annotations

import importlib
from typing import Any

from moderation.pipeline import Observer, Pipeline
from moderation.stages.terms import TermsStage


def prompt_pipeline(timeout_s: float = 10.0, observe: Observer | None = None) -> Pipeline:
    """Text only: prompts, negative prompts, names and answers. Loads in 0.1 s.

    A picture given to it is held, because nothing here can see it.
    """
    return Pipeline([TermsStage()], timeout_s=timeout_s, observe=observe)


def __getattr__(name: str) -> Any:
    """``output_pipeline`` lived here first; callers move to ``moderation.build_output``."""
    if name == "output_pipeline":
        return importlib.import_module("moderation.build_output").output_pipeline
    raise AttributeError(name)
