"""Prompt templates and personas: one file each, applied by the worker, chosen by the bot. Pure.

A template wraps what a member wrote: a role, examples, "step by step", or the schema an answer has
to satisfy. The job keeps the member's own words; the template's name and fingerprint go into the
recipe.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from storage.errors import NotFound
from storage.schema import Frozen, Turn

_FOLDER = Path(__file__).parent
PERSONA_MAX = 1000
"""Longest instruction of a persona, in characters."""
DEFAULT_PERSONA = "atelier"
TOOLS = ("calculator", "clock", "history", "documents")
"""Every tool there is; a persona may allow some of them."""


class Shot(Frozen):
    """One example: what would be asked, and what should be answered."""

    question: str
    answer: str


class Template(Frozen):
    """One file. ``{prompt}`` in ``ask`` marks where the member's words go."""

    name: str
    system: str = ""
    """Replaces the persona where it says something."""
    ask: str = "{prompt}"
    shot: tuple[Shot, ...] = ()
    max_tokens: int = Field(default=0, ge=0, le=4096)
    """Longest answer; 0 leaves it to the model's card."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    stop: tuple[str, ...] = ()
    output_schema: dict[str, Any] | None = None
    mark: str = ""
    """Fingerprint of the file: the same name may say something else in a later release."""

    def turns(self, prompt: str, before: Sequence[Turn] = ()) -> tuple[Turn, ...]:
        """The conversation as the model reads it: role, examples, what went before, the wish."""
        system = [t for t in before if t.role == "system"]
        talk = [t for t in before if t.role != "system"]
        if self.system:
            system = [Turn(role="system", text=self.system), *system[1:]]
        shots = [
            turn
            for shot in self.shot
            for turn in (
                Turn(role="user", text=shot.question),
                Turn(role="assistant", text=shot.answer),
            )
        ]
        asked = self.ask.replace("{{", "{").replace("}}", "}").replace("{prompt}", prompt)
        return (*system, *shots, *talk, Turn(role="user", text=asked))


class Persona(Frozen):
    """Who answers: an instruction, a template, the tools it may call."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    system: str = Field(min_length=1, max_length=PERSONA_MAX)
    template: str = "plain"
    tools: tuple[str, ...] = ()
    temperature: float | None = Field(default=None, ge=0, le=2)


@cache
def template(name: str) -> Template:
    """The template of a file. Raises ``NotFound('template_unknown')``."""
    path = _FOLDER / f"{name}.toml"
    if not name.isidentifier() or name == "personas" or not path.is_file():
        raise NotFound("template_unknown", template=name[:40])
    raw = path.read_bytes()
    mark = hashlib.sha256(raw).hexdigest()[:12]
    return Template.model_validate({**tomllib.loads(raw.decode()), "name": name, "mark": mark})


@cache
def _shipped() -> dict[str, Persona]:
    data = tomllib.loads((_FOLDER / "personas.toml").read_text(encoding="utf-8"))
    return {p["name"]: Persona.model_validate(p) for p in data["persona"]}


def personas(settings: Mapping[str, Any]) -> dict[str, Persona]:
    """The personas of a workspace: ours, and its own, which win by name.

    ``settings["personas"]`` maps names to what differs from an empty persona; an entry that makes
    no sense is left out rather than answered as.
    """
    found = dict(_shipped())
    own = settings.get("personas")
    for name, values in (own if isinstance(own, Mapping) else {}).items():
        try:
            made = Persona.model_validate({**values, "name": name})
            template(made.template)
            found[name] = made.model_copy(
                update={"tools": tuple(t for t in made.tools if t in TOOLS)}
            )
        except (ValidationError, NotFound, TypeError):
            continue
    return found


def persona_in(settings: Mapping[str, Any], channel: str) -> Persona:
    """Who answers in a channel: as its admins chose, else the workspace's, else ours."""
    known = personas(settings)
    chosen = settings.get("channel_personas")
    name = chosen.get(channel) if isinstance(chosen, Mapping) else None
    for wanted in (name, settings.get("persona")):
        if isinstance(wanted, str) and wanted in known:
            return known[wanted]
    return known[DEFAULT_PERSONA]
