"""Measures on a tiny random model of each family: shared passes, identity, cost in company.

Tiny networks say little of speed, but all of what must hold for every architecture: that unlike
pictures share passes, that nobody's picture changes in company, and that company costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from storage.schema import ImageSpec
from worker.bench.driver import Driver
from worker.bench.measure import Measure, alternate
from worker.bench.subjects import PROMPTS, Subjects
from worker.bench.tiny import pipeline
from worker.engine.runners.families import family_of
from worker.engine.runners.image import ImageRunner

KINDS = {
    "sd15": "Stable Diffusion", "sdxl": "SDXL", "klein": "FLUX.2-klein", "z-image": "Z-Image",
}  # fmt: skip
SIDE = 64
MIXED = ((3, 3.0), (6, 5.0), (5, 2.0), (4, 7.0), (6, 3.0), (4, 4.0), (3, 6.0), (5, 1.5))
"""Steps and guidance: with unlike prompts and seeds beside them, all at once."""


def families(subjects: Subjects, rounds: int, kinds: Sequence[str] = tuple(KINDS)) -> list[Measure]:
    """b2, m and b of these families; the pictures of each are compared with those drawn alone."""
    return [measure for kind in kinds for measure in _family(subjects, kind, rounds)]


def _family(subjects: Subjects, kind: str, rounds: int) -> list[Measure]:
    pipe = copy.deepcopy(pipeline(kind))
    pipe.set_progress_bar_config(disable=True)
    family = family_of(type(pipe).__name__)
    assert family is not None
    with torch.inference_mode():
        runner = ImageRunner(
            subjects.registry.cards["picture"], subjects.registry, family(pipe, "cpu")
        )
    here = replace(subjects, image=runner, size=SIDE)
    specs = [_spec(here, seed, steps, guidance) for seed, (steps, guidance) in enumerate(MIXED)]
    name = KINDS[kind]
    with Driver(here, max_images=8) as driver:
        counted = driver.runners["picture"]
        driver.share_all("picture")
        alone = [driver.hashes([spec])[0] for spec in specs]
        driver.hashes(specs)  # combinations of shapes are tried both ways once
        counted.passes = 0
        together = driver.hashes(specs)
        calls = counted.passes - len(specs)  # a decode is a pass of its own
        driver.share_measured("picture")
        four = [_spec(here, seed, 4, 3.0) for seed in range(4)]
        cost = alternate(
            lambda: [h for s in four for h in driver.hashes([s])], lambda: driver.hashes(four),
            rounds,
        )  # fmt: skip
    equal = sum(a == b for a, b in zip(alone, together, strict=True))
    told = f"{equal} of {len(specs)} bit-identical to alone"
    steps = sum(spec.steps for spec in specs)
    same = "pictures equal" if cost.last[0] == cost.last[1] else "PICTURES DIFFER"
    return [
        Measure(
            "b2", f"{name}, tiny: denoiser calls / sum of steps, eight at a time", calls / steps,
            "x", "<= 0.40", identity=told, clock="count", also=f"{calls} calls for {steps} steps",
        ),
        Measure(
            "m", f"{name}, tiny: pictures in company equal to alone", equal / len(specs), "x",
            ">= 1.0", identity=told, clock="count",
        ),
        cost.measure("b", f"{name}, tiny: four one after another / together", ">= 0.98", same),
    ]  # fmt: skip


def _spec(subjects: Subjects, seed: int, steps: int, guidance: float) -> ImageSpec:
    return subjects.spec(
        seed, prompt=PROMPTS[seed % len(PROMPTS)], steps=steps, guidance=guidance, scheduler="own"
    )
