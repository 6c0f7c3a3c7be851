"""The recipe cache: the same wish in the same workspace, made before and still to be seen."""

from __future__ import annotations

from sqlmodel import Session, col, select

from storage.models import Generation
from storage.recipes import recipe_key
from storage.registry import Registry
from storage.schema import AnySpec, GenerationStatus, ImageSpec, JobKind

_SHOWN = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


def keys_of(spec: AnySpec, registry: Registry) -> list[str] | None:
    """The keys of a job's pictures, in order; None for what is never served from the cache.

    Raises ``NotFound`` for a model or style that the registry does not know.
    """
    if not isinstance(spec, ImageSpec):
        return None
    card = registry.find(spec.model, JobKind.IMAGE)
    template = ""
    if spec.style and not spec.template:  # else the spec itself says how it read
        style = registry.style(spec.style)
        template = f"{style.template}\n{style.negative}"
    keys = [
        recipe_key(spec, index, revision=card.exact_revision, template=template)
        for index in range(spec.count)
    ]
    known = [key for key in keys if key is not None]
    return known if len(known) == len(keys) else None


def lookup(session: Session, workspace_id: str, keys: list[str]) -> list[Generation] | None:
    """The newest generation of each key, or None when one is missing or not to be seen.

    Only what the workspace itself made: one tenant learns nothing of another. The newest counts:
    what a moderator took away or holds is not brought back by an older copy.
    """
    found = []
    for key in keys:
        made = session.exec(
            select(Generation)
            .where(Generation.workspace_id == workspace_id, Generation.recipe_key == key)
            .order_by(col(Generation.id).desc())
            .limit(1)
        ).first()
        if made is None or made.status not in _SHOWN or made.blob is None:
            return None
        found.append(made)
    return found
