"""Runs pictures on a runner without an engine, in exactly the company a test wants."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from storage.registry import ModelCard, Registry, Style
from storage.schema import Grade, ImageSpec, JobKind
from worker.bench.tiny import pipeline
from worker.engine.outputs import Output, Picture
from worker.engine.runners.families import family_of
from worker.engine.runners.image import ImageRunner


def ticking() -> Callable[[], float]:
    """A clock by which every pass takes as long: who goes next, and what is shared, is then no
    matter of what else this machine has to do."""
    return itertools.count().__next__


def card(name: str, kind: JobKind = JobKind.IMAGE, **more: Any) -> ModelCard:
    return ModelCard(
        name=name, title=name, kind=kind, source="starter", revision="r1", licence="none",
        size_bytes=1, memory_bytes=1000, width=64, height=64, context_tokens=256, **more,
    )  # fmt: skip


@cache
def registry() -> Registry:
    """One picture model of every name, since a runner only asks for styles."""
    cards = {"tiny": card("tiny"), "talk": card("talk", JobKind.CHAT)}
    return Registry(cards, {"ink": Style(name="ink", template="{prompt}, in ink")}, "tiny", "talk")


@cache
def runner(kind: str, grade: Grade | None = None) -> ImageRunner:
    """A runner over its own copy of a tiny pipeline, shared by the whole session."""
    pipe = copy.deepcopy(pipeline(kind))
    pipe.set_progress_bar_config(disable=True)
    family = family_of(type(pipe).__name__)
    assert family is not None
    with torch.inference_mode():
        return ImageRunner(card("tiny"), registry(), family(pipe, "cpu"), grade=grade)


def spec(**changes: Any) -> ImageSpec:
    base: dict[str, Any] = {
        "model": "tiny", "prompt": "a red apple", "width": 64, "height": 64, "steps": 3,
        "guidance": 3.0, "scheduler": "own", "seed": 7,
    }  # fmt: skip
    return ImageSpec(**{**base, **changes})


@dataclass
class Made:
    """A picture and the latents it was decoded from."""

    picture: Picture
    latents: Tensor
    outputs: list[Output] = field(default_factory=list)

    def same_bits(self, other: Made) -> bool:
        return self.picture.sha256 == other.picture.sha256 and torch.equal(
            self.latents, other.latents
        )


@torch.inference_mode()
def together(
    runner: ImageRunner,
    specs: Sequence[ImageSpec],
    *,
    join: Mapping[int, int] | None = None,
    leave: Mapping[int, int] | None = None,
) -> list[Made | None]:
    """Steps all specs side by side, sharing passes by key.

    ``join`` and ``leave`` say by position in which turn (from 0) a spec joins and before which it
    is gone; who left early is None.
    """
    join, leave = join or {}, leave or {}
    works: dict[int, Any] = {}
    outputs: dict[int, list[Output]] = {i: [] for i in range(len(specs))}
    made: dict[int, Made] = {}
    turn = 0
    while len(works) < len(specs) or any(i not in made for i in works if i not in leave):
        for i, one in enumerate(specs):
            if join.get(i, 0) == turn:
                works[i] = runner.begin(one, 0)
        groups: dict[str, list[int]] = {}
        for i, work in works.items():
            if i not in made and turn < leave.get(i, turn + 1):
                groups.setdefault(work.key, []).append(i)
        for members in groups.values():
            results = runner.forward([works[i] for i in members])
            for i, result in zip(members, results, strict=True):
                stepped = runner.advance(works[i], result)
                outputs[i] += stepped.outputs
                if stepped.done:
                    picture = stepped.outputs[-1]
                    assert isinstance(picture, Picture)
                    made[i] = Made(picture, works[i].latents, outputs[i])
        turn += 1
    return [made.get(i) for i in range(len(specs))]


def alone(runner: ImageRunner, one: ImageSpec) -> Made:
    """The picture of a spec, made in nobody's company."""
    (made,) = together(runner, [one])
    assert made is not None
    return made
