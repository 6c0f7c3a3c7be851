"""May this person use this command here: the rule order, as a pure function that says why.

The order is fixed and the first rule that speaks decides:

1. the operator's stop switch,  2. the workspace is paused (admins pass),  3. the command's own rule
(least role, roles, channels),  4. the rule of ``/imagine`` or ``/ask`` where the command makes such
a thing,  5. the rule for every command (``*``),  6. a time-out or ban.

A member is let in when no rule refuses. Admins and the owner are not kept out by channel and role
rules: whoever can change a rule is not helped by being locked out by it.
"""

from __future__ import annotations

from pydantic import Field

from storage.review_words import DISABLED
from storage.rules import ANY, CommandRule, Rules
from storage.schema import Frozen, Millis, Role


class Asking(Frozen):
    """Who asks for what, where."""

    command: str
    also: str = ""
    """The command whose rules apply to what it makes: a picture made larger is a picture."""
    channel: str
    role: Role
    roles: tuple[str, ...] = ()
    banned_until: Millis | None = None
    now: Millis = 0
    stopped: bool = False
    """The operator's switch is on."""


class Ruling(Frozen):
    """The decision and the rule behind it.

    ``code`` is the key of a sentence (``rule.<code>``) with ``params``; ``trail`` lists every
    rule that was asked before, in order, for ``/config why``. ``channels`` in ``params`` are those
    where it may be used instead, by the platform's ids, separated by spaces.
    """

    allowed: bool
    code: str
    params: dict[str, str] = Field(default_factory=dict)
    trail: tuple[str, ...] = ()


def decide(rules: Rules, asking: Asking) -> Ruling:
    """Apply the rules in their order. Pure: the same question gives the same ruling."""
    trail: list[str] = []
    admin = asking.role.rank >= Role.ADMIN.rank

    def no(code: str, **params: str) -> Ruling:
        return Ruling(allowed=False, code=code, params=params, trail=(*trail, code))

    if asking.stopped:
        return no("stopped")
    trail.append("running")
    if rules.paused and not admin:
        return no("paused")
    trail.append("not_paused")
    for name, word in ((asking.command, "command"), (asking.also, "kind"), (ANY, "all")):
        if not name:
            continue
        rule = rules.commands.get(name)
        if rule is None:
            trail.append(f"no_rule_{word}")
            continue
        refused = _refusal(rule, asking)
        if refused is not None and not (admin and refused != "least"):
            instead = " ".join(rule.only_channels) if refused == "only_channels" else ""
            return no(refused, command=name, least=str(rule.least), channels=instead)
        trail.append(f"rule_{word}")
    if asking.banned_until is not None and asking.banned_until > asking.now:
        return no("disabled" if asking.banned_until == DISABLED else "timed_out")
    trail.append("not_timed_out")
    return Ruling(allowed=True, code="allowed_admin" if admin else "allowed", trail=tuple(trail))


def _refusal(rule: CommandRule, asking: Asking) -> str | None:
    held = set(asking.roles)
    if asking.role.rank < rule.least.rank:
        return "least"
    if held & set(rule.not_roles):
        return "not_role"
    if rule.only_roles and not held & set(rule.only_roles):
        return "only_roles"
    if asking.channel in rule.not_channels:
        return "not_channel"
    if rule.only_channels and asking.channel not in rule.only_channels:
        return "only_channels"
    return None
