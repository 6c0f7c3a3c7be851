"""Styles: the registry's and a workspace's own, which its admins keep in ``settings["styles"]``.

Stored as a list of ``{"name", "template", "negative"}``; ``{prompt}`` marks where the words go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from storage.errors import NotFound
from storage.registry import Registry, Style

log = logging.getLogger(__name__)

OWN_MAX = 50
"""Styles of its own that a workspace may have."""
NAME_MAX = 40
TEMPLATE_MAX = 400


def own_styles(settings: Mapping[str, Any]) -> dict[str, Style]:
    """A workspace's own styles by name; what makes no sense is left out, and said in the log."""
    found: dict[str, Style] = {}
    for entry in list(settings.get("styles", ()))[:OWN_MAX]:
        try:
            style = Style.model_validate(entry)
        except ValidationError:
            log.error("a workspace's style is not valid and was left out")
            continue
        if style.name and "{prompt}" in style.template and len(style.template) <= TEMPLATE_MAX:
            found[style.name[:NAME_MAX]] = style
    return found


def styles_in(registry: Registry, settings: Mapping[str, Any], model: str) -> list[Style]:
    """Every style a member of this workspace may choose for a model, its own first."""
    own = own_styles(settings)
    ours = [style for style in registry.styles_for(model) if style.name not in own]
    return [*own.values(), *ours]


def dressed(name: str, registry: Registry, settings: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a spec that a chosen style fills; all empty for none.

    A workspace's own style goes into the spec as it reads now: a recipe must not change when an
    admin does. Raises ``NotFound('style_unknown')``.
    """
    if not name:
        return {"style": "", "template": "", "template_negative": ""}
    own = own_styles(settings)
    style = own.get(name)
    if style is not None:
        return {
            "style": name, "template": style.template, "template_negative": style.negative,
        }  # fmt: skip
    try:
        registry.style(name)
    except NotFound as error:
        known = ", ".join(sorted({*own, *registry.styles}))
        raise NotFound("style_unknown", style=name[:80], known=known) from error
    return {"style": name, "template": "", "template_negative": ""}
