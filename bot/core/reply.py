"""The platform-neutral answer: what any platform can show. Pure data, already in words.

A handler returns a :class:`Reply`; an adapter turns it into embeds, blocks or HTML. Texts are
already translated and safe to show; adapters escape them for their own markup.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field as PydanticField

from storage.schema import Frozen, JobKind, JobStatus, Millis


class Tone(StrEnum):
    """How a reply should feel; adapters choose a colour or an icon."""

    INFO = "info"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Visibility(StrEnum):
    """Who may see a reply: everyone in the channel, or only who asked."""

    PUBLIC = "public"
    PRIVATE = "private"


class Verb(StrEnum):
    """What a button does; its target is an id that the core checks again at press time."""

    CANCEL = "cancel"  # target: job
    REROLL = "reroll"  # target: job; the same prompt, a new seed
    EDIT = "edit"  # target: job; opens a form with the same values, submits as a new job
    REGENERATE = "regenerate"  # target: job (an answer); asks again with a new seed
    DELETE = "delete"  # target: generation
    REPORT = "report"  # target: generation
    SHOW = "show"  # target: job; brings the card back


class Button(Frozen):
    """Something to press."""

    verb: Verb
    target: str
    label: str
    style: Literal["plain", "primary", "danger"] = "plain"
    confirm: str = ""
    """A question to ask before acting; empty means none."""


class Field(Frozen):
    """One labelled fact on a card."""

    label: str
    value: str
    code: bool = False
    """Show in a fixed-width face and make it easy to copy (seeds, ids)."""


class Picture(Frozen):
    """One picture on a card. ``blob`` is None when there is nothing to show (held, removed)."""

    generation_id: str
    blob: str | None
    alt: str
    width: int
    height: int
    seed: int
    blurred: bool = False
    note: str = ""
    """Said in place of a picture that may not be shown."""
    buttons: tuple[Button, ...] = ()


class Progress(Frozen):
    """How far a running job is. ``preview`` is the blob key of a checked preview, if any."""

    step: int = 0
    steps: int = 0
    index: int = 0
    count: int = 1
    preview: str | None = None


class FormField(Frozen):
    """One input of a form; ``kind`` follows the option of the command it fills."""

    name: str
    label: str
    kind: Literal["text", "long", "integer", "number", "choice", "flag"]
    value: str = ""
    help: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class Form(Frozen):
    """A dialogue whose values are sent as an invocation of ``command`` (Same seed and edit)."""

    title: str
    command: str
    submit: str
    fields: tuple[FormField, ...]


class Reply(Frozen):
    """What to show. Everything but ``text`` may be empty.

    For a job's card ``job_id``, ``status`` and ``kind`` are set, and the reply replaces the
    card shown before for the same job.
    """

    text: str = ""
    """Markdown of the simple kind: paragraphs, bold, code, lists."""
    title: str = ""
    tone: Tone = Tone.INFO
    visibility: Visibility = Visibility.PUBLIC
    fields: tuple[Field, ...] = ()
    pictures: tuple[Picture, ...] = ()
    buttons: tuple[Button, ...] = ()
    form: Form | None = None
    progress: Progress | None = None
    code: str | None = None
    """The stable error code when this reply says no."""
    exit_code: int = 0
    """What a command line would exit with."""

    job_id: str | None = None
    kind: JobKind | None = None
    status: JobStatus | None = None
    prompt: str = ""
    """What the member asked, to show above the answer."""
    author: str = ""
    """The member's display name."""
    created_at: Millis | None = None
    place: int | None = None
    """Place in line, 1 is next, over everything that shares the GPU."""
    total: int | None = None
    eta_at: Millis | None = None
    """When it will probably be done."""
    streaming: bool = False
    """``text`` is an answer still being written."""
    data: dict[str, Any] = PydanticField(default_factory=dict)
    """The same facts for programs (`--json`)."""
