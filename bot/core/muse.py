"""Cards of words made to be drawn: a scene, four directions, and what a picture was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.core.reply import Button, Field, Verb
from bot.core.texts import Texts, credits_in_words
from storage.models import Generation
from storage.scene import PARTS
from storage.schema import ChatSpec, ImageSpec, Verdict
from storage.views import JobView

WRITTEN = frozenset({"enhance", "brainstorm"})
"""Templates whose answers have cards of their own."""


def draw_buttons(made: Generation, texts: Texts, number: str = "") -> tuple[Button, ...]:
    """What can be done with words: draw them, or change them first."""
    label = f" {number}" if number else ""
    draw = Button(
        verb=Verb.DRAW, target=made.id, label=texts("button.draw") + label, style="primary"
    )
    if number:
        return (draw,)
    return (draw, Button(verb=Verb.REWORD, target=made.id, label=texts("button.reword")))


def written(
    seen: JobView, spec: ChatSpec, shown: Sequence[Generation], texts: Texts
) -> dict[str, object]:
    """The card of an enhanced prompt or of directions, in the reader's language."""
    again = Button(
        verb=Verb.REGENERATE, target=seen.job.id, label=texts(f"button.again_{spec.template}")
    )
    if spec.template == "enhance":
        text, buttons = _scene(shown[0], texts), draw_buttons(shown[0], texts)
    else:
        text, buttons = _directions(shown, texts)
    return {
        "text": text,
        "fields": (
            Field(label=texts("field.model"), value=spec.model),
            Field(label=texts("field.cost"), value=credits_in_words(seen.job.cost or 0, texts)),
        ),
        "buttons": (
            *buttons,
            again,
            Button(
                verb=Verb.DELETE, target=shown[0].id, label=texts("button.delete"), style="danger",
                confirm=texts("confirm.delete"),
            ),
        ),
    }  # fmt: skip


def _scene(made: Generation, texts: Texts) -> str:
    recipe = made.recipe
    parts: dict[str, Any] = recipe.get("scene") or {}
    lines = [f"- **{texts(f'scene.{part}')}**: {parts[part]}" for part in PARTS if part in parts]
    said = [f"`{made.text}`", "\n".join(lines), *_honest(recipe, texts)]
    return "\n\n".join(piece for piece in said if piece)


def _directions(shown: Sequence[Generation], texts: Texts) -> tuple[str, tuple[Button, ...]]:
    lines = [f"{made.index + 1}. **{made.recipe.get('title', '')}**: {made.text}" for made in shown]
    ruled = [str(m.index + 1) for m in shown if m.recipe.get("written_by") == "rules"]
    if ruled:
        lines.append("\n" + texts("muse.ruled", numbers=", ".join(ruled)))
    lines += [f"\n{line}" for line in _unknown(shown[0].recipe, texts)]
    draws = [b for m in shown for b in draw_buttons(m, texts, str(m.index + 1))]
    picks = [
        Button(verb=Verb.PICK, target=made.id, label=f"{texts('button.pick')} {made.index + 1}")
        for made in shown
    ]
    return "\n".join(lines), (*draws, *picks)


def _honest(recipe: dict[str, Any], texts: Texts) -> list[str]:
    """Who wrote it, where it was not the model alone; what was not understood."""
    by = recipe.get("written_by")
    lines = []
    if by == "rules":
        lines.append(texts("muse.rules"))
    elif by == "both":
        names = ", ".join(texts(f"scene.{part}") for part in recipe.get("mended", ()))
        lines.append(texts("muse.mended", parts=names))
    return lines + _unknown(recipe, texts)


def _unknown(recipe: dict[str, Any], texts: Texts) -> list[str]:
    unknown = recipe.get("unknown")
    return [texts("muse.unknown", words=unknown)] if unknown else []


def drawn_from(seen: JobView, spec: ImageSpec, texts: Texts) -> tuple[Field, ...]:
    """What a picture's model was told, where that is not what the member typed.

    Not when the words are hidden: what was made of them would show them.
    """
    recipe = next((made.recipe for made in seen.generations if made.recipe.get("asked")), None)
    verdict = seen.job.verdict
    if recipe is None or (verdict is not None and not Verdict.parse(verdict).allowed):
        return ()
    by = str(recipe.get("written_by", ""))
    said = str(recipe.get("prompt", ""))
    fields = []
    if said and said != spec.prompt:
        fields.append(Field(label=texts("field.written"), value=said[:500]))
    if texts.has(f"muse.by_{by}"):
        fields.append(Field(label=texts("field.written_by"), value=texts(f"muse.by_{by}")))
    if recipe.get("unknown"):
        fields.append(Field(label=texts("field.unknown"), value=str(recipe["unknown"])[:100]))
    return tuple(fields)
