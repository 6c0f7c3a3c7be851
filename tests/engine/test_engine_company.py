"""Whoever shares the batch, every family keeps a picture's bits; and a receipt repeats them."""

from __future__ import annotations

import itertools

import pytest
import torch

from storage.recipes import spec_of
from storage.schema import Grade, ImageSpec
from tests.engine.alone import Made, alone, runner, spec, together
from worker.bench.tiny import KINDS
from worker.engine.runners.image import ImageRunner

ALL = list(KINDS)


def crowd(here: ImageRunner, size: int, first: int = 0) -> list[ImageSpec]:
    """Neighbours that differ in everything a request may differ in."""
    samplers = itertools.islice(itertools.cycle(sorted(here.family.samplers)), first, first + size)
    return [
        spec(
            prompt="neighbour " * (1 + i % 5), negative="x" * (i % 3), steps=2 + i % 4,
            seed=1000 + i, guidance=[0.0, 3.0, 7.5][i % 3], scheduler=name,
        )
        for i, name in enumerate(samplers, first)
    ]  # fmt: skip


def same(found: Made | None, expected: Made) -> bool:
    return found is not None and found.same_bits(expected)


@pytest.mark.parametrize("kind", ALL)
def test_alone_and_in_two_five_and_eight(kind: str) -> None:
    here = runner(kind)
    mine = spec(steps=4)
    expected = alone(here, mine)
    for size, first in ((2, 0), (2, 3), (5, 0), (8, 0)):
        company = [*crowd(here, size - 1, first), mine]
        if size == 5:
            company.reverse()  # the first of the batch, not the last
        found = together(here, company)[company.index(mine)]
        assert same(found, expected), (size, first)


@pytest.mark.parametrize("kind", ALL)
def test_the_neighbours_keep_theirs(kind: str) -> None:
    here = runner(kind)
    company = crowd(here, 4)
    for found, one in zip(together(here, company), company, strict=True):
        assert same(found, alone(here, one))


@pytest.mark.parametrize("kind", ALL)
def test_after_a_join_and_a_leave(kind: str) -> None:
    here = runner(kind)
    mine = spec(steps=6, guidance=0.0)
    expected = alone(here, mine)
    company = [mine, *crowd(here, 3)]
    found = together(here, company, join={1: 2, 2: 3, 3: 1}, leave={1: 4, 3: 2})
    assert same(found[0], expected)
    assert found[1] is None and found[2] is not None and found[3] is None
    joining = together(here, company, join={0: 1}, leave={2: 3})
    assert same(joining[0], expected)


@pytest.mark.parametrize("kind", ALL)
def test_a_pass_is_really_shared(kind: str) -> None:
    """Three pictures of four steps: four passes of the denoiser, and none kept apart."""
    here = runner(kind)
    company = [spec(steps=4, seed=i, prompt=f"p{i}") for i in range(3)]
    together(here, company)  # the first time each shape is tried both ways
    passes = []
    hook = here.family.denoiser.register_forward_hook(lambda *_: passes.append(1))
    try:
        together(here, company)
    finally:
        hook.remove()
    assert len(passes) == 4
    assert all(here._shareable.values())


def test_z_image_mixes_sizes_captions_and_moments() -> None:
    here = runner("z-image")
    company = [
        spec(steps=4),
        spec(width=128, height=64, steps=3, prompt="long " * 30),
        spec(width=96, height=112, steps=5, guidance=0.0),
        spec(width=64, height=128, prompt="x" * 200, negative="y" * 80, guidance=1.5),
    ]
    expected = [alone(here, one) for one in company]
    found = together(here, company, join={2: 1})
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    with torch.inference_mode():
        works = [here.begin(one, 0) for one in company]
        assert len({work.key for work in works}) == 1
        assert here.forward(works)[0].bucket == 7


def test_z_image_tries_few_combinations_of_shapes() -> None:
    """Captions of one padded length are one shape, and what was tried once holds for them all."""
    here = runner("z-image")
    here._shareable.clear()
    for words in ("a", "abc", "abcdef"):
        one = spec(prompt=words, guidance=0.0)
        assert same(together(here, [one, spec(seed=9, guidance=0.0)])[0], alone(here, one))
    assert len(here._shareable) == 1


@pytest.mark.parametrize("kind", ["sd15", "klein"])
def test_other_families_keep_sizes_apart(kind: str) -> None:
    here = runner(kind)
    with torch.inference_mode():
        keys = [here.begin(spec(width=w), 0).key for w in (64, 64, 128)]
    assert keys[0] == keys[1] != keys[2]


# ---- grades -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_a_replay_with_dummy_rows_equals_the_original(kind: str) -> None:
    """On stock layers, where company does change bits: the receipt brings them back."""
    here = runner(kind, Grade.REPLAY)
    assert not here.family.exact
    mine = spec(steps=4)
    steady = together(here, [mine, spec(steps=4, seed=1), spec(steps=5, seed=2)])[0]
    assert steady is not None
    recipe = steady.picture.recipe
    rows = 1 if kind in ("sd-lcm", "sdxl-lcm", "klein-distilled") else 2
    assert recipe["grade"] == "replay" and recipe["bucket"] == 3 * rows
    again = spec_of(recipe)
    assert again.bucket == 3 * rows and again.grade is Grade.REPLAY
    assert same(alone(here, again), steady)
    assert alone(here, again).picture.recipe == recipe
    # Neighbours that come and go: every pass had its own size.
    varied = together(here, [mine, spec(seed=1, steps=2), spec(seed=2)], join={2: 3}, leave={2: 4})[
        0
    ]
    assert varied is not None
    assert varied.picture.recipe["buckets"] == [2 * rows, 2 * rows, rows, 2 * rows]
    assert same(alone(here, spec_of(varied.picture.recipe)), varied)
    # And it runs apart: beside others its passes would not be the recorded ones.
    beside = together(here, [spec_of(varied.picture.recipe), *[spec(seed=i) for i in range(3)]])
    assert same(beside[0], varied)


def test_z_image_shares_by_shape_where_a_receipt_must_repeat_it() -> None:
    here = runner("z-image", Grade.REPLAY)
    with torch.inference_mode():

        def key(**changes: object) -> str:
            return here.begin(spec(**changes), 0).key

        assert key() == key(prompt="a blue car", seed=1, steps=9)
        assert len({key(), key(width=128), key(prompt="x" * 200), key(guidance=0.0)}) == 4


@pytest.mark.parametrize("kind", ["sd15", "klein", "z-image"])
def test_strict_shares_with_nobody(kind: str) -> None:
    here = runner(kind, Grade.REPLAY)
    mine = spec(grade=Grade.STRICT)
    expected = alone(here, mine)
    found = together(here, [mine, mine, *crowd(here, 2)])
    assert same(found[0], expected) and same(found[1], expected)
    recipe = expected.picture.recipe
    assert recipe["grade"] == "strict"
    assert "bucket" not in recipe
    # What cannot be promised here is not claimed: exact needs the exact layers.
    assert alone(here, spec(grade=Grade.EXACT)).picture.recipe["grade"] == "strict"


def test_the_receipt_says_how_it_was_made() -> None:
    recipe = alone(runner("sdxl"), spec(scheduler="dpmpp_2m_karras", negative="fog")).picture.recipe
    assert recipe["grade"] == "exact"
    assert recipe["revision"] == "r1"
    assert (recipe["scheduler"], recipe["steps"], recipe["guidance"]) == ("dpmpp_2m_karras", 3, 3.0)
    assert (recipe["width"], recipe["height"], recipe["seed"]) == (64, 64, 7)
    assert recipe["dtype"] == "float32" and recipe["attention"] == "sdpa"
    assert recipe["device"].startswith("cpu (")
    assert recipe["noise"] == "cpu generator, fp32"
    assert recipe["torch"] == torch.__version__
    assert {"diffusers", "transformers", "threads"} <= recipe.keys()
    assert len(recipe["sha256"]) == 64
    again = alone(runner("sdxl"), spec_of(recipe)).picture
    assert again.recipe == recipe
