"""Recipes and specs: two writings of the same wish. Pure.

A recipe is a flat JSON object: what the spec asked of one picture, and beside it what the engine
found out (revision, device, versions, hash). Only the former says what to make.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from storage.schema import ImageSpec

_ALWAYS = {
    "kind", "model", "prompt", "negative", "style", "width", "height", "steps", "guidance",
    "scheduler",
}  # fmt: skip
"""Written even where they are the default, because people read them."""


def recipe_of(spec: ImageSpec, index: int) -> dict[str, Any]:
    """The part of a recipe that the spec of picture ``index`` (0 to count - 1) determines."""
    full = spec.model_dump(mode="json", exclude={"count", "seed"})
    brief = spec.model_dump(mode="json", exclude={"count", "seed"}, exclude_defaults=True)
    kept = {name: value for name, value in full.items() if name in _ALWAYS or name in brief}
    return kept | {"seed": spec.seed_of(index)}


def spec_of(recipe: dict[str, Any]) -> ImageSpec:
    """The spec that makes a recipe's picture again: count 1, and in the grade it was made in.

    The inverse of :func:`recipe_of`; facts that are no wishes (revision, device, hash ...) are
    left out, for the caller to compare. Raises ``pydantic.ValidationError`` for a recipe of
    something that is no picture.
    """
    known = ImageSpec.model_fields.keys() - {"count"}
    return ImageSpec.model_validate({name: recipe[name] for name in known if name in recipe})


_NO_MATTER = ("draft", "bucket", "buckets", "compiled")
"""What does not change the pixels that a member would recognise as the same wish."""


def recipe_key(spec: ImageSpec, index: int, *, revision: str, template: str) -> str | None:
    """What equal wishes share: a hash of everything that decides picture ``index`` and its file.

    ``revision`` is the model's, ``template`` the style's as applied today. Start pictures count by
    their pixels, not by where they lie. None for what is never the same twice: a prompt that a
    chat model writes out.
    """
    if spec.enhance:
        return None
    wish = recipe_of(spec, index)
    for name in _NO_MATTER:
        wish.pop(name, None)
    for name in ("start", "mask", "reference"):
        if isinstance(wish.get(name), dict):
            wish[name] = wish[name]["sha256"]
    if wish.get("blend"):
        wish["blend"] = [source["sha256"] for source in wish["blend"]]
    if isinstance(wish.get("control"), dict):
        wish["control"] = wish["control"] | {"source": wish["control"]["source"]["sha256"]}
    wish |= {"revision": revision, "template": template, "format": spec.format}
    data = json.dumps(wish, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(data.encode()).hexdigest()
