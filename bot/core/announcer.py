"""What each workspace's review channel is told unasked: a new case, and a case that became late."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from bot.core import review_room
from bot.core.case_card import due_in_words
from bot.core.presenter import Notifier
from bot.core.reply import Button, Reply, Tone, Verb
from bot.core.services import Services
from bot.core.texts import Texts
from storage import cases, review_due, review_views, translations
from storage.errors import RetryLater
from storage.models import Case, Workspace
from storage.review_words import FIRST
from storage.schema import Address, Millis, Platform, Verdict

log = logging.getLogger(__name__)

LISTED = 10
LONGEST_REST_MS = 60_000
OPENED = 5
"""Late cases that get a button of their own."""


class Announcer:
    """Tells moderators, each thing once, on the platforms it has notifiers for."""

    def __init__(self, services: Services, notifiers: Mapping[Platform, Notifier]) -> None:
        self._services = services
        self._notifiers = dict(notifiers)
        self._rests: dict[Platform, tuple[int, Millis]] = {}
        """A platform that is unwell: how often in a row, and until when it is left alone."""

    async def announce_cases(self) -> int:
        """Put the card of every new case into its workspace's review channel, once.

        Returns how many were put. A platform that is unwell is tried again at the next sweep.
        """
        services = self._services
        waiting = await services.database.look(
            cases.unannounced, platforms=self._ready(services.clock())
        )
        put = 0
        for case, space, channel in waiting:
            if Platform(space.platform) not in self._ready(services.clock()):
                continue
            try:
                put += await self._announce(case, space, channel)
            except RetryLater as error:
                log.info("case %s is announced later: %s", case.id, error)
                self._rest(Platform(space.platform))
            except Exception:
                # One of the three broad excepts is delivery's: a case that cannot be drawn must
                # not keep the others, nor the housekeeping after them, from their turn.
                log.exception("bug while announcing case %s", case.id)
        return put

    async def _announce(self, case: Case, space: Workspace, channel: str) -> int:
        services, now = self._services, self._services.clock()
        texts = self._texts(space)
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
        self._rests.pop(Platform(space.platform), None)
        await services.database.run(cases.announced, case.id, now=now)
        return 1

    async def announce_breaches(self) -> int:
        """Say which cases became late, once a case, one message a workspace; returns how many."""
        services, now = self._services, self._services.clock()
        taken = await services.database.run(
            review_due.take_breaches, platforms=self._ready(now), now=now
        )
        said = 0
        for space, channel, late in taken:
            try:
                await self._say(space, channel, late_card(late, self._texts(space), now))
            except RetryLater as error:
                log.info("late cases are announced later: %s", error)
                self._rest(Platform(space.platform))
                await services.database.run(review_due.give_back, [case.id for case in late])
                continue
            said += len(late)
        return said

    def _ready(self, now: Millis) -> list[Platform]:
        """The platforms that are not left alone just now."""
        return [p for p in self._notifiers if self._rests.get(p, (0, 0))[1] <= now]

    def _rest(self, platform: Platform) -> None:
        """Leave a platform alone for longer and longer: a storm is not answered with one."""
        tries = self._rests.get(platform, (0, 0))[0] + 1
        pause = min(2_000 * 2 ** (tries - 1), LONGEST_REST_MS)
        self._rests[platform] = (tries, self._services.clock() + pause)

    async def _say(self, space: Workspace, channel: str, reply: Reply) -> None:
        platform = Platform(space.platform)
        address = Address(platform=platform, workspace=space.external_id, channel=channel)
        await self._notifiers[platform].notify(address, reply)

    def _texts(self, space: Workspace) -> Texts:
        return self._services.texts(str(space.settings.get("locale") or "en"))


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
