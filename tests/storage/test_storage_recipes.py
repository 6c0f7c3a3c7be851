"""A recipe and its spec are two writings of the same wish."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.recipes import recipe_of, spec_of
from storage.schema import (
    MAX_SEED,
    Adapter,
    Control,
    ControlKind,
    Grade,
    ImageSpec,
    Margins,
    Mode,
    Source,
)

SOURCE = Source(blob="a.png", sha256="0" * 64, width=64, height=64, generation_id="g")
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "negative": st.text(max_size=5),
    "mode": st.sampled_from(Mode),
    "start": st.sampled_from([None, SOURCE]),
    "strength": st.floats(0.01, 1.0),
    "margins": st.builds(Margins, left=st.integers(0, 64)),
    "scale": st.integers(1, 4),
    "control": st.sampled_from([None, Control(kind=ControlKind.DEPTH, source=SOURCE, scale=0.3)]),
    "adapters": st.lists(
        st.builds(Adapter, name=st.text(), weight=st.floats(-2, 2)), max_size=2
    ).map(tuple),
    "grade": st.sampled_from([None, *Grade]),
    "bucket": st.none() | st.integers(1, 8),
    "buckets": st.lists(st.integers(1, 8), max_size=3).map(tuple),
    "draft": st.booleans(),
}
SPECS = st.builds(
    ImageSpec,
    model=st.text(min_size=1, max_size=5),
    prompt=st.text(max_size=20),
    width=st.sampled_from([64, 128, 1024]),
    height=st.sampled_from([64, 72]),
    steps=st.integers(1, 150),
    guidance=st.floats(0, 30),
    scheduler=st.just("euler"),
    seed=st.integers(0, MAX_SEED),
    count=st.integers(1, 4),
    **OPTIONAL,
)


@settings(max_examples=150, deadline=None)
@given(SPECS, st.data())
def test_the_recipe_of_a_spec_gives_the_spec_back(spec: ImageSpec, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, spec.count - 1))
    facts = {"sha256": "f" * 64, "revision": "r", "device": "cpu", "model_prompt": "x"}
    again = spec_of(recipe_of(spec, index) | facts)
    assert again == spec.model_copy(update={"count": 1, "seed": spec.seed_of(index)})
    assert recipe_of(again, 0) == recipe_of(spec, index)


def test_what_nobody_asked_for_is_not_in_the_recipe() -> None:
    spec = ImageSpec(
        model="m", prompt="p", width=64, height=64, steps=1, guidance=0, scheduler="ddim", seed=1
    )
    assert set(recipe_of(spec, 0)) == {
        "kind", "model", "prompt", "negative", "style", "width", "height", "steps", "guidance",
        "scheduler", "seed",
    }  # fmt: skip


def test_a_recipe_of_an_answer_is_no_picture() -> None:
    with pytest.raises(ValidationError):
        spec_of({"kind": "chat", "model": "m", "seed": 1})
