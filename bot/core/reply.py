"""The platform-neutral answer: what any platform can show. Pure data, already in words.

A handler returns a :class:`Reply`; an adapter turns it into embeds, blocks or HTML. Texts are
already translated and safe to show; adapters escape them for their own markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
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
    VARY_SUBTLE = "vary_subtle"  # target: generation; close to it
    VARY_STRONG = "vary_strong"  # target: generation; further away
    UPSCALE = "upscale"  # target: generation; larger
    FINISH = "finish"  # target: generation (a draft); the same at full size
    FAVOURITE = "favourite"  # target: generation; a copy into the member's private messages
    CONFIRM = "confirm"  # target: intent; do what was asked and shown before
    CONFIG = "config"  # target: a group of settings; opens its form, whose values it then saves
    DRAW = "draw"  # target: generation (words of ours); draws them
    REWORD = "reword"  # target: generation (words of ours); opens a form with them, draws it
    PICK = "pick"  # target: generation (a direction); four more around it
    CASE = "case"  # target: case; claims it and shows it
    STEAL = "steal"  # target: case; an admin takes somebody else's lock over, written down
    REVEAL = "reveal"  # target: case; its picture for one moderator, written down
    APPROVE = "approve"  # target: case; post it as asked
    BLUR = "blur"  # target: case; post it veiled
    DENY = "deny"  # target: case; asks for the rule and a note, then denies
    STRIKE = "strike"  # target: case; the same, and marks the member
    BAN = "ban"  # target: case; the same, and nothing new for a time
    ESCALATE = "escalate"  # target: case; to the admins
    ASK = "ask"  # target: case; a question to the member
    AGREE = "agree"  # target: decision; the second pair of eyes on a ban
    UNDO = "undo"  # target: decision; taken back within a minute
    APPEAL = "appeal"  # target: case; asks why, then appeals
    UPHOLD = "uphold"  # target: case; the appealed ruling stands
    OVERTURN = "overturn"  # target: case; the appealed ruling falls
    REPORT_NCII = "report_ncii"  # target: generation or job; an intimate picture without consent
    SECOND_LOOK = "second_look"  # target: decided case; shows it without what was decided
    LOOK_APPROVE = "look_approve"  # target: case; the second look's own ruling
    LOOK_DENY = "look_deny"  # target: case; the same, asks for the rule
    DUTY = "duty"  # target: workspace; its admin takes note of what the law asks
    AGAIN = "again"  # target: generation; made anew from its recipe, to compare


class Effect(StrEnum):
    """What a press answers with: known before the core is asked, so that an adapter can
    acknowledge in the right way within its platform's seconds."""

    CARD = "card"  # the card the button is on, as it is now: acknowledge, then edit it
    NEW = "new"  # a new job's card: acknowledge as for a command of that visibility
    PRIVATE = "private"  # a sentence for who pressed
    FORM = "form"  # a dialogue; some platforms must open it as their first answer


EFFECTS: Mapping[Verb, Effect] = MappingProxyType(
    {
        Verb.CANCEL: Effect.CARD,
        Verb.DELETE: Effect.CARD,
        Verb.SHOW: Effect.NEW,
        Verb.REROLL: Effect.NEW,
        Verb.REGENERATE: Effect.NEW,
        Verb.VARY_SUBTLE: Effect.NEW,
        Verb.VARY_STRONG: Effect.NEW,
        Verb.UPSCALE: Effect.NEW,
        Verb.FINISH: Effect.NEW,
        Verb.AGAIN: Effect.NEW,
        Verb.DRAW: Effect.NEW,
        Verb.PICK: Effect.NEW,
        Verb.EDIT: Effect.FORM,
        Verb.REWORD: Effect.FORM,
        Verb.CONFIG: Effect.FORM,
        Verb.DENY: Effect.FORM,
        Verb.STRIKE: Effect.FORM,
        Verb.BAN: Effect.FORM,
        Verb.ASK: Effect.FORM,
        Verb.APPEAL: Effect.FORM,
        Verb.CASE: Effect.PRIVATE,
        Verb.STEAL: Effect.PRIVATE,
        Verb.REVEAL: Effect.PRIVATE,
        Verb.APPROVE: Effect.PRIVATE,
        Verb.BLUR: Effect.PRIVATE,
        Verb.ESCALATE: Effect.PRIVATE,
        Verb.AGREE: Effect.PRIVATE,
        Verb.UNDO: Effect.PRIVATE,
        Verb.UPHOLD: Effect.PRIVATE,
        Verb.OVERTURN: Effect.PRIVATE,
        Verb.CONFIRM: Effect.PRIVATE,
        Verb.REPORT: Effect.PRIVATE,
        Verb.REPORT_NCII: Effect.PRIVATE,
        Verb.SECOND_LOOK: Effect.PRIVATE,
        Verb.LOOK_APPROVE: Effect.PRIVATE,
        Verb.LOOK_DENY: Effect.FORM,
        Verb.DUTY: Effect.PRIVATE,
        Verb.FAVOURITE: Effect.PRIVATE,
    }
)
"""Whatever the effect, a reply without ``job_id`` and form is a private sentence: a no."""


def makes_card(verb: str, values: Mapping[str, Any] | None = None) -> bool:
    """Whether a press draws a job's card, which others read too; the rest is between us two.

    A dialogue is for one person; what it sends (``values``) makes a card when it began on one.
    """
    known = EFFECTS.get(Verb(verb)) if verb in set(Verb) else None
    return known in (Effect.CARD, Effect.NEW) or (verb in (Verb.EDIT, Verb.REWORD) and bool(values))


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


class Link(Frozen):
    """An address of this very studio to open. Nothing a member or a model wrote ever is one."""

    url: str
    label: str


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
    kind: Literal["text", "long", "integer", "number", "choice", "flag", "image", "file"]
    value: str = ""
    help: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class Form(Frozen):
    """A dialogue. Its values are sent as an invocation of ``command``; or, when ``verb`` is set,
    as a press of that verb on ``target`` with :attr:`Press.values` (Same seed and edit).

    At most five fields, because that is what a Discord dialogue holds.
    """

    title: str
    submit: str
    fields: tuple[FormField, ...] = PydanticField(max_length=5)
    command: str = ""
    verb: Verb | None = None
    target: str = ""


class Document(Frozen):
    """A file for who asked: an export. Never stored; an adapter attaches or offers it."""

    name: str
    media_type: str
    content: bytes = PydanticField(repr=False)


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
    locale: str = "en"
    """The language of a job's card; what an adapter adds of its own is in it too."""
    fields: tuple[Field, ...] = ()
    pictures: tuple[Picture, ...] = ()
    buttons: tuple[Button, ...] = ()
    form: Form | None = None
    link: Link | None = None
    """Shown under ``text``, as the platform shows links; only in private replies."""
    channels: tuple[str, ...] = ()
    """Channels it names under ``text``, by the platform's ids; only in private replies."""
    document: Document | None = None
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
    direct: bool = False
    """Send this to the member's private messages (Favourite), and say ``text`` where they pressed.
    """
    data: dict[str, Any] = PydanticField(default_factory=dict)
    """The same facts for programs (`--json`)."""


class Row(Frozen):
    """Buttons that stand in one line; ``picture`` is the index they belong to, None the job's."""

    buttons: tuple[Button, ...]
    picture: int | None = None


_ON_A_GRID = (
    Verb.FINISH, Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE, Verb.FAVOURITE, Verb.DELETE,
)  # fmt: skip
"""What one picture of several keeps when its buttons must fit one line, most wanted first."""


def rows(reply: Reply, *, per_row: int = 5) -> tuple[Row, ...]:
    """A card's buttons in lines of at most ``per_row``, for platforms that count them.

    One picture: the job's buttons and the picture's, in order, wrapped. Several pictures: the
    job's in the first lines (with Report, once, about all of them), then one line a picture with
    the most wanted; labels there end in the picture's number.
    """
    shown = [(i, picture) for i, picture in enumerate(reply.pictures) if picture.buttons]
    if len(reply.pictures) <= 1:
        return _wrapped((*reply.buttons, *(b for _, p in shown for b in p.buttons)), per_row)
    report = next((b for _, p in shown for b in p.buttons if b.verb is Verb.REPORT), None)
    whole = reply.buttons
    if report is not None and reply.job_id is not None:
        whole = (*whole, report.model_copy(update={"target": reply.job_id}))
    lines = list(_wrapped(whole, per_row))
    for index, picture in shown:
        known = {button.verb: button for button in picture.buttons}
        kept = [known[verb] for verb in _ON_A_GRID if verb in known][:per_row]
        numbered = tuple(b.model_copy(update={"label": f"{b.label} {index + 1}"}) for b in kept)
        if numbered:
            lines.append(Row(buttons=numbered, picture=index))
    return tuple(lines)


def _wrapped(buttons: tuple[Button, ...], per_row: int) -> tuple[Row, ...]:
    starts = range(0, len(buttons), per_row)
    return tuple(Row(buttons=buttons[start : start + per_row]) for start in starts)
