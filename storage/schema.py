"""The words every room shares: ids, enums, specs, flags, verdicts, addresses. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from ulid import ULID

MAX_SEED = 2**63 - 1
"""Largest seed: what a signed 64-bit column and ``torch.Generator.manual_seed`` both hold."""

Millis = int
"""A moment (milliseconds since the Unix epoch, UTC) or a length of time in milliseconds."""


def new_id() -> str:
    """A fresh ULID: 26 characters, sorts by time of creation, unique across processes."""
    return str(ULID())


def is_id(text: str) -> bool:
    """Whether a text has the shape of our ids; anything else from outside is no row of ours."""
    return len(text) == 26 and text.isascii() and text.isalnum()


class Platform(StrEnum):
    """Where people talk to us."""

    LOCAL = "local"  # the web page and the command line on this machine
    DISCORD = "discord"
    SLACK = "slack"
    FAKE = "fake"  # tests


class Role(StrEnum):
    """What a person may do in a workspace, least first; each may do what those before may."""

    MEMBER = "member"
    MODERATOR = "moderator"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """0 for a member, rising."""
        return list(Role).index(self)


def role_at_least(role: str, least: Role) -> bool:
    """Whether a stored role is ``least`` or more; a word we do not know is a member's."""
    known = Role(role) if role in set(Role) else Role.MEMBER
    return known.rank >= least.rank


class JobKind(StrEnum):
    """What a job makes; each kind has its runner."""

    IMAGE = "image"
    CHAT = "chat"


class Mode(StrEnum):
    """What an image job starts from."""

    TEXT = "text"  # noise only
    IMAGE = "image"  # a start picture, changed as far as ``strength`` says
    INPAINT = "inpaint"  # a start picture, redrawn where the mask is white
    OUTPAINT = "outpaint"  # a start picture, continued beyond its edges
    UPSCALE = "upscale"  # a start picture, made larger


class Grade(StrEnum):
    """What "the same recipe, the same picture" promises (shared/PERFORMANCE.md 4.4)."""

    EXACT = "exact"  # CPU: bit-identical whatever shares the batch
    REPLAY = "replay"  # GPU: bit-identical when run again in the recorded batch bucket
    STRICT = "strict"  # a batch of one: bit-identical on the same device and versions


class ControlKind(StrEnum):
    """What a control picture says about the result."""

    CANNY = "canny"
    DEPTH = "depth"
    POSE = "pose"


class JobStatus(StrEnum):
    """``queued -> running -> succeeded | failed | rejected | cancelled``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


OPEN_STATUSES = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
TERMINAL_STATUSES = frozenset(JobStatus) - OPEN_STATUSES


class GenerationStatus(StrEnum):
    """What members may see of a generation."""

    VISIBLE = "visible"
    BLURRED = "blurred"
    HELD = "held"
    REMOVED = "removed"


class CaseStatus(StrEnum):
    """``open -> claimed -> decided -> appealed -> closed``."""

    OPEN = "open"
    CLAIMED = "claimed"
    DECIDED = "decided"
    APPEALED = "appealed"
    CLOSED = "closed"


class CaseOrigin(StrEnum):
    """Why a case exists."""

    HELD = "held"  # a verdict of hold or block on something a job made
    REPORTED = "reported"  # a member pressed Report
    REFUSED = "refused"  # a fixed rule refused what was typed, and struck for it


class Category(StrEnum):
    """The 14 policy codes of the taxonomy (shared/MODERATION.md 3.2) and one for broken checks."""

    CSAE = "CSAE"
    REAL = "REAL"
    SEX = "SEX"
    SEXC = "SEXC"
    VIO = "VIO"
    GORE = "GORE"
    HATE = "HATE"
    HAR = "HAR"
    SELF = "SELF"
    ILL = "ILL"
    WEAP = "WEAP"
    PII = "PII"
    IP = "IP"
    INJ = "INJ"
    FAULT = "FAULT"  # a stage raised, hung or answered junk: we do not know, so we hold


class Outcome(IntEnum):
    """What a verdict does, mildest first; the harshest wins."""

    ALLOW = 0
    BLUR = 1
    HOLD = 2
    BLOCK = 3

    @property
    def word(self) -> str:
        """The lower-case word used in tables, JSON and logs."""
        return self.name.lower()


class Frozen(BaseModel):
    """A value: immutable, compared by content, refusing unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Flag(Frozen):
    """One finding of one stage.

    ``score`` is 0 to 1 on the stage's own scale; scores of different stages do not compare.
    ``detail`` is for moderators only (a matched rule, a body part), never shown to the member.
    """

    category: Category
    score: float = Field(ge=0.0, le=1.0)
    stage: str
    detail: str = ""


class Verdict(Frozen):
    """What a policy made of a set of flags.

    Verdicts join with ``|``: the harsher outcome wins and the flags unite, so that
    ``a | a == a``, ``a | b == b | a``, ``(a | b) | c == a | (b | c)`` and ``Verdict() | a == a``.
    """

    outcome: Outcome = Outcome.ALLOW
    flags: frozenset[Flag] = frozenset()

    def __or__(self, other: Verdict) -> Verdict:
        return Verdict(outcome=max(self.outcome, other.outcome), flags=self.flags | other.flags)

    @property
    def allowed(self) -> bool:
        """True when the content may be shown, blurred or not."""
        return self.outcome <= Outcome.BLUR

    def categories(self) -> list[Category]:
        """The codes found, each once, in alphabetical order."""
        return sorted({flag.category for flag in self.flags})

    def dump(self) -> dict[str, Any]:
        """A JSON object with a stable order, as stored and as the command line prints it."""
        flags = sorted(self.flags, key=lambda f: (f.category, f.stage, f.score, f.detail))
        return {"outcome": self.outcome.word, "flags": [f.model_dump(mode="json") for f in flags]}

    def public(self) -> dict[str, Any]:
        """:meth:`dump` without the details, which are for moderators only."""
        return without_details(self.dump())

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Verdict:
        """The inverse of :meth:`dump`."""
        return cls(
            outcome=Outcome[str(data["outcome"]).upper()],
            flags=frozenset(Flag.model_validate(f) for f in data["flags"]),
        )


def without_details(verdict: dict[str, Any]) -> dict[str, Any]:
    """A dumped verdict as members and programs may read it."""
    flags = [{k: v for k, v in flag.items() if k != "detail"} for flag in verdict["flags"]]
    return verdict | {"flags": flags}


def harshest(verdicts: Iterable[Verdict]) -> Verdict:
    """The join of any number of verdicts; of none, *allow*."""
    joined = Verdict()
    for verdict in verdicts:
        joined |= verdict
    return joined


PERSONAL = "person:"
"""Prefix of the workspace of one person by themselves: a direct message, or a place that has not
installed us. No server's policy applies there, so the defaults do, which are the strict ones."""


class Address(Frozen):
    """Where a reply goes; storable, so that a restarted bot still knows."""

    platform: Platform
    workspace: str
    """The platform's own id of the workspace, not our row id."""
    channel: str
    thread: str | None = None
    message: str | None = None
    age_restricted: bool | None = None
    """What the platform says of the channel (Discord); None where it says nothing of the kind."""


class Source(Frozen):
    """A picture somebody gave us or we made, judged and stored: what a spec starts from.

    ``sha256`` is of its uint8 RGB pixels (RGBA where it has an alpha channel), so that a recipe
    names its content and not only its place.
    """

    blob: str
    sha256: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    generation_id: str | None = None
    """The generation it is, when we made it."""
    alpha: bool = False
    """Some of it is transparent: what *inpaint* draws when there is no mask."""


class Adapter(Frozen):
    """A LoRA by name and how strongly it applies."""

    name: str
    weight: float = Field(default=1.0, ge=-2.0, le=2.0)


class Control(Frozen):
    """A picture that steers the layout. ``annotated`` means it already is an edge map, say."""

    kind: ControlKind
    source: Source
    scale: float = Field(default=1.0, ge=0.0, le=2.0)
    annotated: bool = False


class Margins(Frozen):
    """Pixels to add on each side of a start picture."""

    left: int = Field(default=0, ge=0, le=1024)
    top: int = Field(default=0, ge=0, le=1024)
    right: int = Field(default=0, ge=0, le=1024)
    bottom: int = Field(default=0, ge=0, le=1024)


class ImageSpec(Frozen):
    """A picture job with every default already filled in: nothing is left to chance.

    Picture ``i`` of ``count`` uses seed ``(seed + i) % 2**63``. ``prompt`` is what the member
    typed; the style's template is applied by the worker, so that the recipe shows both.
    ``width`` and ``height`` are those of the result.
    """

    kind: Literal[JobKind.IMAGE] = JobKind.IMAGE
    model: str
    prompt: str
    negative: str = ""
    style: str = ""
    template: str = ""
    """A workspace's own style as it read when it was asked for, with ``{prompt}`` in it; empty:
    the registry's style of that name."""
    template_negative: str = ""
    width: int = Field(ge=64, le=2048, multiple_of=8)
    height: int = Field(ge=64, le=2048, multiple_of=8)
    steps: int = Field(ge=1, le=150)
    guidance: float = Field(ge=0.0, le=30.0)
    scheduler: str
    seed: int = Field(ge=0, le=MAX_SEED)
    count: int = Field(default=1, ge=1, le=4)
    mode: Mode = Mode.TEXT
    start: Source | None = None
    """The start picture of every mode but *text*."""
    mask: Source | None = None
    """White where *inpaint* redraws; the start picture's size."""
    strength: float = Field(default=0.6, gt=0.0, le=1.0)
    """How far a start picture may change: 1 forgets it."""
    margins: Margins = Margins()
    scale: int = Field(default=1, ge=1, le=4)
    """How many times larger *upscale* makes it, per side."""
    control: Control | None = None
    reference: Source | None = None
    """A picture whose content the result should resemble (IP-Adapter, FLUX.2-klein)."""
    blend: tuple[Source, ...] = Field(default=(), max_length=3)
    """Further ones, blended with ``reference``."""
    reference_scale: float = Field(default=0.6, ge=0.0, le=1.0)
    adapters: tuple[Adapter, ...] = ()
    grade: Grade | None = None
    """None: the device's own (*exact* on a CPU, *replay* on a GPU)."""
    bucket: int | None = Field(default=None, ge=1)
    """The batch bucket (rows of every pass) to run in again (*replay* of a receipt); None lets the
    engine choose."""
    buckets: tuple[int, ...] = ()
    """The same where neighbours came and went: rows of each step's pass."""
    compiled: bool | None = None
    """Whether compiled code draws it (*replay* of a receipt); None: if there is any by then."""
    enhance: bool = False
    """Let the chat model write the prompt out first; the recipe shows both."""
    draft: bool = False
    """One of a grid of quick drafts that may be finished at full size."""
    format: Literal["webp", "lossless", "png"] = "webp"
    """How the file is written: WebP at quality 90, lossless WebP, or PNG. The recipe's hash is of
    the pixels before, so it is the same for all three."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every picture it starts from: start, mask, control and references, where there are."""
        control = None if self.control is None else self.control.source
        found = (self.start, self.mask, control, *self.references)
        return tuple(s for s in found if s is not None)

    @property
    def references(self) -> tuple[Source, ...]:
        """The reference and what is blended with it; none without a reference."""
        return () if self.reference is None else (self.reference, *self.blend)

    def seed_of(self, index: int) -> int:
        """The seed of picture ``index`` (0 to count - 1)."""
        return (self.seed + index) % (MAX_SEED + 1)


class Turn(Frozen):
    """One message of a conversation as the chat model reads it."""

    role: Literal["system", "user", "assistant"]
    text: str


class Quoted(Frozen):
    """A passage of a workspace's document that goes along with a question."""

    document_id: str
    version: int
    name: str
    place: int
    """Which passage of it, from 0."""
    text: str


class ChatSpec(Frozen):
    """An answer job. ``turns`` is the whole context, oldest first, ending with the question."""

    kind: Literal[JobKind.CHAT] = JobKind.CHAT
    model: str
    thread: str
    turns: tuple[Turn, ...]
    max_tokens: int = Field(ge=1, le=4096)
    temperature: float = Field(ge=0.0, le=2.0)
    seed: int = Field(ge=0, le=MAX_SEED)
    persona: str = ""
    template: str = ""
    """The prompt template the turns were made with (*enhance*, *brainstorm* ...); empty: none."""
    stop: tuple[str, ...] = ()
    repetition_penalty: float = Field(default=1.0, ge=0.5, le=2.0)
    output_schema: dict[str, Any] | None = None
    """JSON schema the answer must satisfy; repaired once, then the job fails."""
    tools: tuple[str, ...] = ()
    """Names of the tools the model may call, as the asking member."""
    images: tuple[Source, ...] = ()
    """Pictures the question is about, for a vision model."""
    retrieval: bool = False
    """Whether the worker looks for passages of the workspace's documents when it begins."""
    documents: tuple[Quoted, ...] = ()
    """What it found. Filled while the job runs and never stored: the document may be gone later."""

    @property
    def prompt(self) -> str:
        """The member's question: the last turn."""
        return self.turns[-1].text


AnySpec = ImageSpec | ChatSpec
JobSpec = Annotated[AnySpec, Field(discriminator="kind")]
_SPEC: TypeAdapter[AnySpec] = TypeAdapter(JobSpec)


def parse_spec(data: dict[str, Any]) -> AnySpec:
    """A stored spec back as a value. Raises ``pydantic.ValidationError`` on junk."""
    return _SPEC.validate_python(data)


def batch_key(spec: AnySpec) -> str:
    """Requests with equal keys may share a forward pass: same model and, for pictures, shape."""
    if isinstance(spec, ImageSpec):
        return f"image:{spec.model}:{spec.width}x{spec.height}"
    return f"chat:{spec.model}"


class EventType(StrEnum):
    """What travels on a job's live channel; hints only, the row is the truth."""

    STATE = "state"  # the row changed: read it
    PROGRESS = "progress"  # a step was made; perhaps a checked preview
    TEXT = "text"  # a released (checked) piece of an answer


class Event(Frozen):
    """One live event of one job.

    ``text`` is the whole released answer so far, not a delta: a listener that missed an event
    loses nothing. ``preview`` is the blob key of a checked preview picture.
    """

    type: EventType
    job_id: str
    status: JobStatus | None = None
    index: int = 0
    step: int = 0
    steps: int = 0
    preview: str | None = None
    text: str | None = None
