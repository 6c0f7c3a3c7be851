"""What a workspace's admins may set, with the defaults in force; pure values, no I/O.

Stored as the JSON object ``Workspace.settings``: only what was changed is written, everything else
is the default here. Groups of other rooms (the moderation policy, personas, styles) keep their own
schema in their own room and pass through as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from storage.review_words import ReviewRules
from storage.schema import Frozen, Role

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
ANY = "*"
"""Stands for every command in :attr:`Rules.commands`."""


def _ids(value: Any) -> Any:
    """A list of platform ids as typed: separated by commas or spaces, mentions unwrapped."""
    if isinstance(value, str):
        value = re.findall(r"[A-Za-z0-9_.:-]+", value)
    return value


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        if not _ID.fullmatch(item):
            raise ValueError("an id has letters, digits and - _ . : only")
    return tuple(dict.fromkeys(value))


Ids = Annotated[tuple[str, ...], BeforeValidator(_ids), AfterValidator(_checked)]
"""Channel, role or model names: at most a few hundred, each once, in order."""


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            "not a time zone; one looks like Europe/Berlin or Asia/Shanghai"
        ) from error
    return value


class CommandRule(Frozen):
    """Where and by whom one command (or ``*``: every command) may be used.

    An empty ``only_*`` list means everywhere or everybody; a ``not_*`` entry wins over it.
    """

    only_channels: Ids = ()
    not_channels: Ids = ()
    only_roles: Ids = ()
    not_roles: Ids = ()
    least: Role = Role.MEMBER


class Limits(Frozen):
    """How much one member, and the whole workspace, may ask."""

    burst: int = Field(default=30, ge=1, le=1000)
    """Commands in quick succession before a member has to slow down (the token bucket's size)."""
    per_minute: int = Field(default=30, ge=1, le=10_000)
    """Commands a minute in the long run (what the bucket refills)."""
    max_queued: int = Field(default=30, ge=1, le=10_000)
    """Open jobs of the whole workspace."""
    max_wait_minutes: int = Field(default=10, ge=1, le=600)
    """A job that would wait longer is refused with the predicted time."""
    account_age_days: int = Field(default=7, ge=0, le=365)
    """Younger platform accounts get no free credits yet: a brake on second accounts."""
    gift_per_day: int = Field(default=50, ge=0, le=1_000_000)
    """Credits one member may give away in a day; 0 switches gifts off."""


class Credits(Frozen):
    """How credits arrive."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Whose midnight starts a month and a day."""
    daily_free: int = Field(default=0, ge=0, le=10_000)
    """Credits that are there anew each day and gone at its end."""
    role_tiers: dict[str, str] = Field(default_factory=dict)
    """Platform role or group id -> tier."""
    sku_tiers: dict[str, str] = Field(default_factory=dict)
    """Platform SKU id -> tier."""


Percent = Annotated[int, Field(ge=0, le=1000)]


class Prices(Frozen):
    """What work costs here, in percent of the published price: 0 is free, 1000 ten times as much.

    A job's price is the product of its kind's and its model's percent; see :mod:`storage.prices`.
    """

    picture: Percent = 100
    upscale: Percent = 100
    answer: Percent = 100
    vision: Percent = 100
    """Answers about a picture."""
    models: dict[str, Percent] = Field(default_factory=dict)
    """Model name -> percent."""


class Tiers(Frozen):
    """What this workspace makes of the operator's tiers: tier name -> value, column by column.

    A workspace may only narrow what the operator's row allows; its monthly credits are its own.
    Queue weight and how many run at once stay the operator's: they are shares of one engine.
    """

    monthly_credits: dict[str, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        default_factory=dict
    )
    max_queued: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=dict)
    max_side: dict[str, Annotated[int, Field(ge=64, le=2048)]] = Field(default_factory=dict)
    """Longest side of a picture in pixels."""
    max_steps: dict[str, Annotated[int, Field(ge=1, le=150)]] = Field(default_factory=dict)
    max_count: dict[str, Annotated[int, Field(ge=1, le=4)]] = Field(default_factory=dict)
    models: dict[str, Ids] = Field(default_factory=dict)
    adapters: dict[str, bool] = Field(default_factory=dict)
    private: dict[str, bool] = Field(default_factory=dict)
    """Whether results may be asked for privately."""
    retention_days: dict[str, Annotated[int, Field(ge=0, le=3650)]] = Field(default_factory=dict)
    """How long what its members made is kept; 0 follows the workspace."""


class Models(Frozen):
    """What may be used here; empty means everything this studio runs."""

    images: Ids = ()
    adapters: Ids = ()


class Defaults(Frozen):
    """What a member gets who says nothing else."""

    style: str = Field(default="", max_length=80)
    size: str = Field(default="", max_length=20)
    negative: str = Field(default="", max_length=500)


class Keeping(Frozen):
    """How long content stays; 0 keeps it until someone deletes it."""

    generations_days: int = Field(default=0, ge=0, le=3650)
    conversations_days: int = Field(default=0, ge=0, le=3650)
    uploads_days: int = Field(default=7, ge=0, le=3650)


class Learning(Frozen):
    """Whether the filters learn from what this workspace's moderators decide."""

    on: bool = False
    """Only from commands' texts and our own answers; what is learnt stays here and ends with it."""


class Chat(Frozen):
    """How conversations go here."""

    memory_tokens: int = Field(default=0, ge=0, le=1_000_000)
    """Most tokens of a conversation that go along with its next question; what is older is folded
    into a summary. 0: as many as the model takes."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """For who names none, where the persona has none of its own; None: the model's."""


class Rules(Frozen):
    """Everything the core reads of a workspace's settings."""

    paused: bool = False
    """Nothing new is accepted while it is on; what is queued goes on."""
    mod_roles: Ids = ()
    """Platform roles whose holders are moderators here."""
    admin_roles: Ids = ()
    commands: dict[str, CommandRule] = Field(default_factory=dict)
    limits: Limits = Limits()
    credits: Credits = Credits()
    prices: Prices = Prices()
    tiers: Tiers = Tiers()
    models: Models = Models()
    defaults: Defaults = Defaults()
    keeping: Keeping = Keeping()
    review: ReviewRules = ReviewRules()
    learning: Learning = Learning()
    chat: Chat = Chat()
    review_channel: str = Field(default="", max_length=80)
    locale: str = Field(default="", pattern="^(en|zh)?$")
    """The language of public cards; empty follows who asked."""
    disclosure: str = Field(default="", max_length=300)
    """Said under every answer and picture besides the AI label."""


KEYS = frozenset(Rules.model_fields)
"""Top-level settings that are ours; any other belongs to another room."""


def rules_of(settings: Mapping[str, Any]) -> Rules:
    """The rules in force. What does not validate (another version's) falls back to the default
    of its own group only, so that one bad value never opens everything else."""
    ours = {key: value for key, value in settings.items() if key in KEYS}
    while True:
        try:
            return Rules.model_validate(ours)
        except ValidationError as error:
            bad = {str(problem["loc"][0]) for problem in error.errors()}
            ours = {key: value for key, value in ours.items() if key not in bad}


def role_here(rules: Rules, role: str, roles: tuple[str, ...]) -> Role:
    """A person's role in this workspace: the platform's own, raised by a mapped platform role."""
    found = Role(role) if role in set(Role) else Role.MEMBER
    held = set(roles)
    if held & set(rules.admin_roles):
        found = max(found, Role.ADMIN, key=lambda r: r.rank)
    if held & set(rules.mod_roles):
        found = max(found, Role.MODERATOR, key=lambda r: r.rank)
    return found
