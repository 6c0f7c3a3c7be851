"""May this be asked now: the checks that come before anything is judged, priced or held.

In this order, the first that speaks decides: the operator's stop switch, the paused workspace,
channel and role rules, a time-out (:mod:`storage.access`), the token bucket, the tier, then, in the
transaction that stores the job, the queue's limits, the predicted wait and the credits. A refusal
is private, costs nothing and says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage import bucket, switches
from storage.access import Asking, Ruling, decide
from storage.database import Session
from storage.errors import LimitReached, NotAllowed
from storage.models import Member
from storage.rules import Rules, rules_of
from storage.schema import AnySpec, JobKind, Millis, Role, role_at_least
from storage.tiers import may_be_private, within

if TYPE_CHECKING:
    from bot.core.command import Context

MAKES = frozenset(
    {"imagine", "upscale", "blend", "ask", "enhance", "brainstorm", "describe", "again"}
)
"""Commands that make something: the stop switch, a pause and a time-out keep these back. Looking
at one's own things, privacy and help stay open."""
COMMAND_OF = {JobKind.IMAGE: "imagine", JobKind.CHAT: "ask"}
"""Whose rules apply to a job that a button asks for."""
KIND_OF = {
    "upscale": JobKind.IMAGE, "blend": JobKind.IMAGE, "again": JobKind.IMAGE,
    "enhance": JobKind.CHAT, "brainstorm": JobKind.CHAT, "describe": JobKind.CHAT,
}  # fmt: skip
"""What the other commands that make something make."""


def rules_in(context: Context) -> Rules:
    """The workspace's rules; the strict defaults where no workspace has installed us."""
    return rules_of(context.actor.workspace.settings) if context.venue.installed else Rules()


async def ruling(
    context: Context, command: str, *, person: Member | None = None, channel: str = ""
) -> Ruling:
    """What the rules say about a member (who asks, unless another is named) and a command now,
    here or in another channel."""
    services, who = context.services, person or context.actor.member
    stopped = await services.database.look(switches.is_on, switches.STOP)
    rules, makes = rules_in(context), command in MAKES
    if not makes:
        rules = rules.model_copy(update={"paused": False})
    return decide(
        rules,
        Asking(
            command=command,
            also=COMMAND_OF[KIND_OF[command]] if command in KIND_OF else "",
            channel=channel or context.address.channel,
            role=Role(who.role),
            roles=tuple(who.roles),
            banned_until=who.banned_until if makes else None,
            now=services.clock(),
            stopped=stopped and makes,
        ),
    )


async def check_rules(context: Context, command: str) -> None:
    """Raise ``NotAllowed('rule_<code>')`` when the rules refuse; see :mod:`storage.access`.

    Asked once per invocation and command.
    """
    if f"rule:{command}" in context.counted:
        return
    said = await ruling(context, command)
    if not said.allowed:
        params = dict(said.params)
        if said.code == "timed_out":
            until = context.actor.member.banned_until or 0
            params["minutes"] = str(max(1, -(-(until - context.services.clock()) // 60_000)))
        if "least" in params:
            params["least"] = context.texts(f"role.{params['least']}")
        raise NotAllowed(f"rule_{said.code}", **params)
    context.counted.add(f"rule:{command}")


def _take(session: Session, member_id: str, rules: Rules, now: Millis) -> Millis:
    return bucket.take(session, member_id, rules.limits, now=now)


async def check_job(context: Context, spec: AnySpec) -> None:
    """Everything that can refuse a job before the transaction that stores it.

    Raises ``NotAllowed`` by a rule, ``LimitReached`` by the bucket (``too_fast``) or the tier.
    """
    await check_rules(context, COMMAND_OF.get(JobKind(spec.kind), str(spec.kind)))
    within(spec, context.actor.tier, rules_in(context))
    await check_pace(context)


async def check_pace(context: Context) -> None:
    """Take one from the member's token bucket, once per invocation; admins are not counted.

    Asked before anything is judged: a thousand prompts at once must not keep the filters from
    everybody else's. Raises ``LimitReached('too_fast')``.
    """
    services, member = context.services, context.actor.member
    if "bucket" in context.counted or role_at_least(member.role, Role.ADMIN):
        return
    context.counted.add("bucket")
    wait = await services.database.run(_take, member.id, rules_in(context), services.clock())
    if wait:
        raise LimitReached("too_fast", seconds=-(-wait // 1000))


def check_private(context: Context, wanted: bool) -> None:
    """Raise ``LimitReached('tier_private')`` when a private result is wanted and not included.

    In a direct message everything is private by itself, whatever the tier; so it is where no
    workspace has installed us.
    """
    if wanted and context.venue.installed and not context.venue.private:
        may_be_private(context.actor.tier)


def max_wait_ms(context: Context) -> Millis:
    """The longest predicted wait this workspace accepts."""
    if "limits" in context.actor.workspace.settings:
        return rules_in(context).limits.max_wait_minutes * 60_000
    return context.services.max_wait_ms
