"""Families of picture models that can be stepped: one small file each."""

from __future__ import annotations

from worker.engine.runners.families.base import Family
from worker.engine.runners.families.flux2 import Flux2Klein
from worker.engine.runners.families.sd import StableDiffusion
from worker.engine.runners.families.sdxl import StableDiffusionXL
from worker.engine.runners.families.zimage import ZImage

FAMILIES: tuple[type[Family], ...] = (StableDiffusion, StableDiffusionXL, Flux2Klein, ZImage)


def family_of(pipeline: str) -> type[Family] | None:
    """The family that steps a diffusers pipeline class (``_class_name`` in model_index.json)."""
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return family
    return None
