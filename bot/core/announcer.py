"""What each workspace's review channel is told unasked: a new case, a case that became late, and
that a member was disabled."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from bot.core import review_room
from bot.core.case_card import due_in_words
from bot.core.presenter import Notifier
from bot.core.reply import Button, Reply, Tone, Verb
from bot.core.services import Services
from bot.core.texts import Texts
from storage import cases, disabled, review_due, review_views, translations
from storage.errors import AtelierError, RetryLater
from storage.models import Case, Workspace
from storage.review_words import FIRST
from storage.schema import Address, Millis, Platform, Verdict

log = logging.getLogger(__name__)

LISTED = 10
ENOUGH = 3
"""Workspaces of an unwell platform that are tried in one sweep."""
LONGEST_REST_MS = 60_000
"""Between two tries to tell one workspace."""
OPENED = 5
"""Late cases that get a button of their own."""


class Announcer:
    """Tells moderators, each thing once, on the platforms it has notifiers for."""

    def __init__(self, services: Services, notifiers: Mapping[Platform, Notifier]) -> None:
        self._services = services
        self._notifiers = dict(notifiers)
        self._rests: dict[str, tuple[int, Millis]] = {}
        """A workspace that could not be told: how often in a row, and until when it rests."""

    async def announce_cases(self) -> int:
        """Put the card of every new case into its workspace's review channel, once.

        Returns how many were put. A workspace that cannot be told just now, because its platform is
        unwell or a card cannot be drawn, keeps no other from its turn.
        """
        services, put = self._services, 0
        left_out: set[str] = set()
        troubles: Counter[Platform] = Counter()
        while True:
            waiting = await services.database.look(
                cases.unannounced,
                platforms=[p for p in self._notifiers if troubles[p] < ENOUGH],
                without=left_out | self._resting(),
            )
            failed: set[str] = set()
            for case, space, channel in waiting:
                if space.id in self._resting() or troubles[space.platform] >= ENOUGH:
                    continue
                try:
                    await self._announce(case, space, channel)
                    put += 1
                except RetryLater as error:
                    log.info("case %s is announced later: %s", case.id, error)
                    self._rest(space.id)
                    troubles[space.platform] += 1
                    failed.add(space.id)
                except Exception:
                    # Delivery has one of the three broad excepts, and this is a part of it: a case
                    # that cannot be drawn keeps neither others nor the housekeeping waiting.
                    log.exception("bug while announcing case %s", case.id)
                    failed.add(space.id)
            if not failed:
                return put
            left_out |= failed

    async def _announce(self, case: Case, space: Workspace, channel: str) -> None:
        services, now, texts = self._services, self._services.clock(), self._texts(space)
        seen = await services.database.look(
            review_views.view, case.id, workspace_id=space.id, now=now,
            file_sha256=await review_room.digest_of_file(services, space.id, case.id),
        )  # fmt: skip
        card = await review_room.drawn(services, seen, texts, lists_in=space.settings)
        if card.data.get("translating"):
            await services.database.run(
                translations.want, case.id, texts.locale, workspace_id=space.id, now=now
            )
        await self._say(space, channel, card)
        await services.database.run(cases.announced, case.id, now=now)

    async def announce_breaches(self) -> int:
        """Say which cases became late, once a case, one message a workspace; returns how many."""
        services, now, said = self._services, self._services.clock(), 0
        while True:
            taken = await services.database.run(
                review_due.take_breaches, platforms=list(self._notifiers), now=now,
                without=self._resting(),
            )  # fmt: skip
            failed = False
            for space, channel, late in taken:
                try:
                    await self._say(space, channel, late_card(late, self._texts(space), now))
                    said += len(late)
                except Exception as error:  # as above
                    log.info(
                        "late cases are announced later: %s", error,
                        exc_info=None if isinstance(error, AtelierError) else error,
                    )  # fmt: skip
                    await services.database.run(review_due.give_back, [case.id for case in late])
                    self._rest(space.id)
                    failed = True
            if not failed:
                return said

    async def announce_disabled(self) -> int:
        """Tell of members whom the rule on child abuse keeps from making anything: that it
        happened and who decides, not who nor what. Returns how many times it was said."""
        services, now, said = self._services, self._services.clock(), 0
        for space, channel, strike_id in await services.database.look(
            disabled.alerts, platforms=list(self._notifiers), now=now
        ):
            if space.id in self._resting():
                continue
            try:
                await self._say(space, channel, disabled_card(self._texts(space)))
                await services.database.run(disabled.alerted, space.id, strike_id, now=now)
                said += 1
            except Exception as error:  # as above
                log.info(
                    "a disabled member is announced later: %s", error,
                    exc_info=None if isinstance(error, AtelierError) else error,
                )  # fmt: skip
                self._rest(space.id)
        return said

    def _resting(self) -> frozenset[str]:
        """The workspaces that are left alone just now."""
        now = self._services.clock()
        return frozenset(space for space, (_, until) in self._rests.items() if until > now)

    def _rest(self, workspace_id: str) -> None:
        """Leave a workspace alone for longer and longer: a storm is not answered with one."""
        tries = self._rests.get(workspace_id, (0, 0))[0] + 1
        pause = min(2_000 * 2 ** (min(tries, 10) - 1), LONGEST_REST_MS)
        self._rests[workspace_id] = (tries, self._services.clock() + pause)

    async def _say(self, space: Workspace, channel: str, reply: Reply) -> None:
        platform = Platform(space.platform)
        address = Address(platform=platform, workspace=space.external_id, channel=channel)
        await self._notifiers[platform].notify(address, reply)
        self._rests.pop(space.id, None)

    def _texts(self, space: Workspace) -> Texts:
        return self._services.texts(str(space.settings.get("locale") or "en"))


def disabled_card(texts: Texts) -> Reply:
    """The message that a member was disabled, without anything about them. Pure."""
    return Reply(
        title=texts("disabled.title"), text=texts("disabled.text"), tone=Tone.BAD,
        data={"disabled": True},
    )  # fmt: skip


def late_card(late: Sequence[Case], texts: Texts, now: Millis) -> Reply:
    """The message about cases past their due time, the gravest first. Pure."""
    lines = []
    for number, case in enumerate(late[:LISTED], 1):
        codes = Verdict.parse(case.verdict).categories()
        code = codes[0] if codes else texts("case.reported_only")
        if case.severity >= FIRST:
            code = texts("case.ncii_short")
        assert case.due_at is not None, "only what has a due time is late"
        due = due_in_words(case.due_at, texts, now)
        lines.append(texts("review.late_line", n=number, code=code, due=due))
    if len(late) > LISTED:
        lines.append(texts("review.late_more", n=len(late) - LISTED))
    return Reply(
        title=texts("review.late_one") if len(late) == 1 else texts("review.late", n=len(late)),
        text="\n".join(lines),
        tone=Tone.WARN,
        buttons=tuple(
            Button(verb=Verb.CASE, target=case.id, label=texts("review.open", n=number))
            for number, case in enumerate(late[:OPENED], 1)
        ),
        data={"late": [case.id for case in late]},
    )
