"""What the registry promises about picture models, the families can keep."""

from __future__ import annotations

import re

import pytest

from storage.registry import ModelCard, load_registry
from storage.schema import JobKind
from worker.engine.runners.families.base import UNET_SAMPLERS
from worker.engine.runners.families.flux2 import Flux2Klein
from worker.engine.runners.families.zimage import ZImage
from worker.engine.samplers import SAMPLERS

CARDS = [
    card
    for card in load_registry().cards.values()
    if card.kind is JobKind.IMAGE and card.purpose == "draw"
]
FITS = {
    "black-forest-labs/FLUX.2-klein-4B": Flux2Klein.samplers,
    "Tongyi-MAI/Z-Image-Turbo": ZImage.samplers,
    "black-forest-labs/FLUX.1-schnell": frozenset({"own", "flow"}),
}
"""All others are UNets."""


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_samplers_of_a_card_are_those_of_its_family(card: ModelCard) -> None:
    assert set(card.schedulers) <= SAMPLERS.keys()
    assert set(card.schedulers) <= FITS.get(card.repo, UNET_SAMPLERS)
    assert card.scheduler in card.schedulers


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_defaults_are_within_limits_and_pinned(card: ModelCard) -> None:
    assert 1 <= card.steps <= card.max_steps <= 150
    assert max(card.width, card.height) <= card.max_side
    assert card.licence
    if card.source == "hub":
        assert re.fullmatch(r"[0-9a-f]{40}", card.revision)


def test_another_commit_of_a_listed_model_keeps_its_card() -> None:
    commit = "ab" * 20
    registry = load_registry(f"Tongyi-MAI/Z-Image-Turbo@{commit}")
    card = registry.default(JobKind.IMAGE)
    assert (card.name, card.revision, card.scheduler) == ("z-image-turbo", commit, "flow")
    assert load_registry("z-image-turbo").default(JobKind.IMAGE).revision != commit


def test_a_base_is_not_mistaken_for_what_is_made_of_it() -> None:
    repo = "stabilityai/stable-diffusion-xl-base-1.0"
    assert load_registry(repo).image_default == "sdxl"
    assert load_registry("sdxl-lightning").default(JobKind.IMAGE).repo == repo


def test_a_model_nobody_listed_uses_the_sampler_it_names() -> None:
    card = load_registry("owner/model@" + "0" * 40).default(JobKind.IMAGE)
    assert card.scheduler == "own"
    assert set(card.schedulers) == SAMPLERS.keys()
