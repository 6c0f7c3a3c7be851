"""The tables. Times are integer milliseconds UTC; money is integer credits; ids are ULIDs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.models_documents import Passage as Passage
from storage.models_documents import StoredDocument as StoredDocument
from storage.models_judged import DecisionRecord as DecisionRecord
from storage.models_judged import LearnedHead as LearnedHead
from storage.models_judged import LearnedLabel as LearnedLabel
from storage.models_judged import PictureHash as PictureHash
from storage.models_money import Intent as Intent
from storage.models_money import LinkCode as LinkCode
from storage.models_money import PromoCode as PromoCode
from storage.models_money import SettingChange as SettingChange
from storage.models_money import Switch as Switch
from storage.models_money import TierGrant as TierGrant
from storage.models_review import Act as Act
from storage.models_review import Appeal as Appeal
from storage.models_review import CaseTranslation as CaseTranslation
from storage.models_review import Decision as Decision
from storage.models_review import Report as Report
from storage.models_review import SavedView as SavedView
from storage.models_review import Strike as Strike
from storage.schema import (
    CaseOrigin,
    CaseStatus,
    GenerationStatus,
    JobKind,
    JobStatus,
    Platform,
    new_id,
)


class Tier(SQLModel, table=True):
    """A named set of limits, monthly credits and queue weight."""

    id: str = Field(primary_key=True)
    weight: int = 1
    """Share of the GPU relative to other members; a member of weight 4 gets four times as much."""
    monthly_credits: int
    max_queued: int
    max_running: int
    max_side: int = 2048
    """Longest side of a picture in pixels."""
    max_steps: int = 150
    max_count: int = 4
    models: list[str] = Field(default_factory=list, sa_type=JSON)
    """Models it may use; empty means all."""
    adapters: bool = True
    """Whether LoRAs may be used."""
    private: bool = True
    """Whether results may be asked for privately."""
    retention_days: int = 0
    """How long what its members made is kept; 0 follows the workspace."""
    price_cents: int = 0
    """What its member pays a month, for the operator's sums; cents of one currency."""


class Workspace(SQLModel, table=True):
    """A Discord guild, a Slack team or the local web space: the tenant."""

    __table_args__ = (UniqueConstraint("platform", "external_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    platform: Platform = Field(sa_type=Text)
    external_id: str
    name: str = ""
    tier_id: str = Field(foreign_key="tier.id")
    """The tier of members who have no other."""
    settings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    served: int = Field(default=0, sa_type=BigInteger)
    """Virtual GPU-milliseconds served: the first key of the claim's order."""
    tag: int = Field(default=0, sa_type=BigInteger)
    """``served`` as it was when its last job was claimed; the highest is the virtual clock."""
    max_queued: int = 30
    created_at: int = Field(sa_type=BigInteger)


class Member(SQLModel, table=True):
    """One person in one workspace."""

    __table_args__ = (UniqueConstraint("workspace_id", "external_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    external_id: str
    name: str = ""
    role: str = "member"
    """member, moderator or admin, as the platform last told us."""
    tier_id: str = Field(foreign_key="tier.id")
    served: int = Field(default=0, sa_type=BigInteger)
    """Virtual GPU-milliseconds over the tier's weight: the second key of the claim's order."""
    tag: int = Field(default=0, sa_type=BigInteger)
    """As the workspace's tag, one level down."""
    linked_to: str | None = Field(default=None, foreign_key="member.id", index=True)
    """The member whose balance and history this one shares: the same person elsewhere."""
    roles: list[str] = Field(default_factory=list, sa_type=JSON)
    """Ids of platform roles, as the platform last told us."""
    banned_until: int | None = Field(default=None, sa_type=BigInteger)
    """A strike's time-out or ban ends then."""
    bucket: int = 0
    """Thousandths of a command left in the token bucket at ``bucket_at``."""
    bucket_at: int | None = Field(default=None, sa_type=BigInteger)
    account_created_at: int | None = Field(default=None, sa_type=BigInteger)
    """When the platform account was made, where the platform says so."""
    created_at: int = Field(sa_type=BigInteger)


class Job(SQLModel, table=True):
    """One unit of queued work: a row with a spec and a status; the truth about it."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "key"),
        Index("ix_job_open", "status", "lease_until"),
        Index("ix_job_member", "member_id", "id"),
        Index("ix_job_delivery", "delivered_at", "status"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    member_id: str = Field(foreign_key="member.id")
    key: str
    """What makes the same invocation delivered twice one job: the platform's interaction id."""
    kind: JobKind = Field(sa_type=Text)
    model: str
    batch_key: str
    spec: dict[str, Any] = Field(sa_type=JSON)
    address: dict[str, Any] = Field(sa_type=JSON)
    locale: str = "en"
    status: JobStatus = Field(default=JobStatus.QUEUED, sa_type=Text)
    parent_id: str | None = None
    """The job this one was made from (Reroll, Edit), if any."""
    cached: bool = False
    """Every picture of it was in the recipe cache when it was asked for: it costs nothing, waits
    in no line and takes no place in the engine."""
    again_of: str | None = None
    """The generation it makes anew, to compare."""
    predicted_ms: int | None = Field(default=None, sa_type=BigInteger)
    """From being asked for to being done, as foreseen then; its error is a metric."""

    estimate_ms: int
    """Engine milliseconds foreseen: charged to the fairness counters at claim."""
    charged_ms: int = 0
    """What the counters carry for this job now; corrected to the truth at finish."""
    overtaken_ms: int = Field(default=0, sa_type=BigInteger)
    """How much work of loaded models went ahead of this job out of turn; bounded by the slack."""
    deadline_ms: int
    """How long one run may take before it is stopped and failed."""

    attempts: int = 0
    """Runs started that did not end by themselves (crashes); graceful give-backs do not count."""
    fence: int = 0
    """Rises at every claim: a stale owner's writes match no row."""
    worker: str | None = None
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    cancel_requested_at: int | None = Field(default=None, sa_type=BigInteger)

    created_at: int = Field(sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    finished_at: int | None = Field(default=None, sa_type=BigInteger)
    delivered_at: int | None = Field(default=None, sa_type=BigInteger)
    queued_ms: int | None = None
    run_ms: int | None = None
    rate: int = 10_000
    """What its workspace charged when it was asked for (:func:`storage.prices.rate_of`)."""
    cost: int | None = None
    """Credits settled; zero for a job that failed, was refused or cancelled."""
    verdict: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    error_code: str | None = None
    error_params: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class Generation(SQLModel, table=True):
    """One output of a job: a picture (a blob) or an answer (text)."""

    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        Index("ix_generation_recipe", "workspace_id", "recipe_key"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    index: int
    kind: JobKind = Field(sa_type=Text)
    status: GenerationStatus = Field(sa_type=Text)
    seed: int = Field(sa_type=BigInteger)
    recipe: dict[str, Any] = Field(sa_type=JSON)
    verdict: dict[str, Any] = Field(sa_type=JSON)
    blob: str | None = None
    """Key in the blob store; None for an answer, or once removed."""
    text: str | None = Field(default=None, sa_type=Text)
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    """Of the uint8 RGB pixels (pictures)."""
    recipe_key: str | None = None
    """What the recipe cache finds it by (:func:`storage.recipes.recipe_key`)."""
    created_at: int = Field(sa_type=BigInteger)


class Pace(SQLModel, table=True):
    """What one kind of work takes (:mod:`storage.paces`): forgetting sums over its points."""

    key: str = Field(primary_key=True)
    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    updated_at: int = Field(sa_type=BigInteger)


class Message(SQLModel, table=True):
    """One turn of a conversation; what `/ask` remembers of a thread."""

    __table_args__ = (Index("ix_message_thread", "workspace_id", "thread", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id")
    thread: str
    job_id: str = Field(foreign_key="job.id", index=True)
    role: str
    text: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)


class ThreadMemory(SQLModel, table=True):
    """What is left of a conversation's oldest part, and where it begins anew."""

    workspace_id: str = Field(foreign_key="workspace.id", primary_key=True)
    thread: str = Field(primary_key=True)
    summary: str = Field(default="", sa_type=Text)
    """A few judged sentences about everything up to ``folded``."""
    folded: str = ""
    """The newest job whose messages are in the summary."""
    begun: str = ""
    """Messages of this job and older ones are not remembered: somebody started afresh."""
    updated_at: int = Field(sa_type=BigInteger)


class Outbox(SQLModel, table=True):
    """An announcement written with the change it announces; sent after commit, at least once."""

    __table_args__ = (Index("ix_outbox_unsent", "sent_at", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    topic: str
    """``ticket`` (a job may be claimed) or ``announce`` (a job ended)."""
    created_at: int = Field(sa_type=BigInteger)
    sent_at: int | None = Field(default=None, sa_type=BigInteger)


class Case(SQLModel, table=True):
    """A matter for human review."""

    __tablename__ = "review_case"
    __table_args__ = (UniqueConstraint("generation_id", "origin"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace_id: str = Field(foreign_key="workspace.id", index=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    generation_id: str = Field(foreign_key="generation.id")
    member_id: str = Field(foreign_key="member.id")
    """Whose generation it is."""
    reporter_id: str | None = Field(default=None, foreign_key="member.id")
    origin: CaseOrigin = Field(sa_type=Text)
    status: CaseStatus = Field(default=CaseStatus.OPEN, sa_type=Text)
    verdict: dict[str, Any] = Field(sa_type=JSON)
    severity: int = 1
    """1 (can wait) to 4 (at once); 5 is a reported intimate picture, before all others."""
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    """When it should be decided; later is a breach."""
    escalated: bool = False
    """For admins only."""
    claimed_by: str | None = Field(default=None, foreign_key="member.id")
    claimed_until: int | None = Field(default=None, sa_type=BigInteger)
    decided_at: int | None = Field(default=None, sa_type=BigInteger)
    announced_at: int | None = Field(default=None, sa_type=BigInteger)
    """When its card was put into the review channel."""
    breached_at: int | None = Field(default=None, sa_type=BigInteger)
    """When the review channel was told that it is late."""
    shown_as: str | None = Field(default=None, sa_type=Text)
    """What a report of an intimate picture hid: the generation's status before it."""
    created_at: int = Field(sa_type=BigInteger)


class Account(SQLModel, table=True):
    """A balance that is always the sum of its entries, and what is reserved of it."""

    __table_args__ = (
        CheckConstraint("pending >= 0", name="pending_not_negative"),
        CheckConstraint(
            "id NOT LIKE 'member:%' OR posted - pending >= 0", name="member_never_overdrawn"
        ),
    )

    id: str = Field(primary_key=True)
    """``member:<id>``, ``mint`` (negative: where credits come from) or ``revenue``."""
    posted: int = Field(default=0, sa_type=BigInteger)
    pending: int = Field(default=0, sa_type=BigInteger)


class Entry(SQLModel, table=True):
    """One signed permanent ledger line: ``amount`` moved from ``debit`` to ``credit``."""

    __table_args__ = (CheckConstraint("amount > 0", name="amount_positive"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    key: str = Field(unique=True)
    """Business key: the same movement written twice is one entry."""
    debit: str = Field(foreign_key="account.id", index=True)
    credit: str = Field(foreign_key="account.id", index=True)
    amount: int = Field(sa_type=BigInteger)
    kind: str
    job_id: str | None = Field(default=None, index=True)
    reason: str = ""
    at: int = Field(sa_type=BigInteger)


class Reservation(SQLModel, table=True):
    """Credits held before a job queues; ends once, by settlement or release."""

    __table_args__ = (
        CheckConstraint("amount >= 0", name="reserved_not_negative"),
        CheckConstraint("settled >= 0 AND settled <= amount", name="never_over_captured"),
    )

    job_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id", index=True)
    amount: int = Field(sa_type=BigInteger)
    settled: int = Field(default=0, sa_type=BigInteger)
    state: str = "held"
    """``held``, ``settled`` or ``released``."""
    at: int = Field(sa_type=BigInteger)


class Post(SQLModel, table=True):
    """Where a job's card is on its platform; what it takes to edit it and to end it once."""

    __table_args__ = (
        Index("ix_post_message", "platform", "channel", "message"),
        Index("ix_post_token", "token_until"),
    )

    job_id: str = Field(foreign_key="job.id", primary_key=True)
    platform: Platform = Field(sa_type=Text)
    workspace: str
    """The platform's own ids, as in :class:`~storage.schema.Address`."""
    channel: str
    thread: str | None = None
    message: str | None = None
    private: bool = False
    """Only who asked may see it; chosen at the first acknowledgement."""
    token: str | None = Field(default=None, sa_type=Text)
    """Sealed (:mod:`storage.vault`); wiped when it ends or the card is final."""
    token_until: int | None = Field(default=None, sa_type=BigInteger)
    state: str = "waiting"
    tries: int = 0
    extra: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    """What its adapter noted: uploaded files, messages that continue a long answer."""
    updated_at: int = Field(sa_type=BigInteger)


class Favourite(SQLModel, table=True):
    """A generation a member keeps."""

    member_id: str = Field(foreign_key="member.id", primary_key=True)
    generation_id: str = Field(foreign_key="generation.id", primary_key=True)
    created_at: int = Field(sa_type=BigInteger)
