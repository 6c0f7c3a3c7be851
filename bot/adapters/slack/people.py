"""Who somebody is: name, language and role, asked from Slack once in a while and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from bot.adapters.slack.calls import Closed, asked
from bot.core.command import Who
from bot.core.texts import pick_locale
from storage.errors import AtelierError, NotFound, OperatorError, RetryLater
from storage.schema import Platform, Role

log = logging.getLogger(__name__)

KEPT_S = 600.0
"""A role that was taken away counts for at most this long."""
_ASK_AGAIN_S = 30.0
"""After a failed look: until then the person is a member, and speaks English."""


@dataclass(frozen=True)
class Person:
    """One member as Slack knows them."""

    who: Who
    locale: str


@dataclass
class _Groups:
    """User groups by member, read together: Slack has no roles of its own beyond admins."""

    until: float = 0.0
    of: dict[str, tuple[str, ...]] = field(default_factory=dict)


class People:
    """Lookups for one workspace. Never raises: a stranger is a plain member."""

    def __init__(
        self,
        client: AsyncWebClient,
        workspace: str,
        workspace_name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._workspace = workspace
        self.workspace_name = workspace_name
        self._clock = clock
        self._known: dict[str, tuple[float, Person]] = {}
        self._groups = _Groups()

    def locale(self, member: str) -> str | None:
        """The language of somebody we know already; None for the others. Asks nobody."""
        known = self._known.get(member)
        return known[1].locale if known is not None else None

    async def find(self, member: str, name: str = "") -> Person:
        """A person by id; ``name`` is what the event calls them."""
        now = self._clock()
        known = self._known.get(member)
        if known is not None and known[0] > now:
            return known[1]
        try:
            answer = await asked(self._client.users_info(user=member, include_locale=True))
            facts: dict[str, Any] = answer.get("user", {})
            kept = KEPT_S
        except AtelierError as error:
            log.warning("somebody could not be looked up: %s", error)
            if known is not None:
                return known[1]
            facts, kept = {}, _ASK_AGAIN_S
        person = Person(
            who=self._who(member, facts, await self._groups_of(member), name),
            locale=pick_locale(str(facts.get("locale") or "en")),
        )
        self._known[member] = (now + kept, person)
        return person

    async def standing(self, workspace: str, member: str) -> Who | None:
        """What Slack says of somebody at this moment, whatever we kept; see
        :data:`bot.core.services.Standing`."""
        if workspace != self._workspace:
            raise NotFound("member_gone")
        try:
            facts = (await asked(self._client.users_info(user=member))).get("user", {})
        except Closed:
            return None
        except OperatorError as error:  # our token was taken back
            raise NotFound("member_gone") from error
        except AtelierError as error:
            raise RetryLater("Slack does not say who somebody is") from error
        self._known.pop(member, None)
        if facts.get("deleted"):
            return None
        try:
            await self._read_groups()
        except RetryLater:
            raise
        except AtelierError:
            self._groups = _Groups(self._clock() + KEPT_S)
        return self._who(member, facts, self._groups.of.get(member, ()))

    def _who(
        self, member: str, facts: dict[str, Any], groups: tuple[str, ...], name: str = ""
    ) -> Who:
        profile = facts.get("profile") or {}
        shown = profile.get("display_name") or profile.get("real_name") or facts.get("real_name")
        return Who(
            platform=Platform.SLACK,
            workspace=self._workspace,
            workspace_name=self.workspace_name,
            member=member,
            member_name=str(shown or facts.get("name") or name)[:80],
            role=role_of(facts, self._workspace),
            roles=groups,
        )

    async def _read_groups(self) -> None:
        of: dict[str, tuple[str, ...]] = {}
        answer = await asked(self._client.usergroups_list(include_users=True))
        for group in answer.get("usergroups", []):
            for one in group.get("users") or []:
                of[one] = (*of.get(one, ()), str(group["id"]))
        self._groups = _Groups(self._clock() + KEPT_S, of)

    async def _groups_of(self, member: str) -> tuple[str, ...]:
        now = self._clock()
        if self._groups.until <= now:
            try:
                await self._read_groups()
            except AtelierError as error:  # free workspaces have none
                log.info("no user groups: %s", error)
                self._groups = _Groups(now + KEPT_S, self._groups.of)
        return self._groups.of.get(member, ())


def role_of(facts: dict[str, Any], workspace: str) -> Role:
    """Owners and admins of the workspace; who moderates is a matter of our settings.

    A shared channel (Slack Connect) has people of other organisations in it: who is an admin at
    home is none here.
    """
    if facts.get("is_restricted") or facts.get("is_ultra_restricted") or facts.get("deleted"):
        return Role.MEMBER
    grid = facts.get("enterprise_user") or {}
    homes = {facts.get("team_id") or workspace, *(grid.get("teams") or ())}
    if facts.get("is_stranger") or workspace not in homes:
        return Role.MEMBER
    if facts.get("is_primary_owner") or facts.get("is_owner"):
        return Role.OWNER
    return Role.ADMIN if facts.get("is_admin") else Role.MEMBER
