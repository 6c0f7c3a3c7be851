"""One small driver a platform, so that one contract suite (tests/test_adapters.py) asks them all.

A driver lets people do what they can do there (use a command, press a button, press a forged one)
and says what they see: the cards of the channel, what only one of them saw, the buttons drawn.
Everything behind it is real: adapter, core, Valkey, database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from bot.core.services import Services
from storage import endings, jobs
from storage.endings import Ending
from storage.jobs import Made
from storage.schema import GenerationStatus, JobKind, JobStatus, Outcome, Platform, Verdict

BOTH = {JobKind.IMAGE: 4, JobKind.CHAT: 4}


@dataclass(frozen=True)
class Card:
    """A message of the bot that everyone in the channel sees."""

    words: str
    """All its texts, as the platform got them."""
    buttons: tuple[tuple[str, str], ...]
    """Verb and target of each button drawn, in order."""
    pictures: int = 0
    links: tuple[str, ...] = ()
    """Where its links lead, on faces that have any."""


class Driver(Protocol):
    """One platform in the hands of ann, who asks, and eve, who does not belong."""

    name: str
    platform: Platform
    services: Services
    boss: str
    """An admin of the place; ann herself where there is only one person."""

    async def use(self, command: str, who: str = "ann", **values: Any) -> None:
        """Somebody uses a command and waits until it was answered. A ``member`` is named as people
        are here, and mentioned as the platform does it."""

    async def repeat(self) -> None:
        """The platform delivers the last command once more."""

    async def press(self, card: Card, verb: str, who: str = "ann") -> None:
        """Somebody presses a button of a card."""

    async def forge(self, card: Card, verb: str, target: str, who: str = "ann") -> None:
        """Somebody presses a button that was never drawn."""

    async def cards(self) -> list[Card]:
        """The cards of the channel now, oldest first."""

    async def notes(self, who: str) -> list[str]:
        """What only this person saw, oldest first."""

    async def deliver(self, times: int = 1) -> None:
        """Put what ended where it belongs; more than once: as after a crash in between."""

    async def restart(self) -> None:
        """Kill the bot and start another over the same state."""

    def offered(self) -> set[str]:
        """The commands people can use here."""

    def pings(self, card: Card) -> bool:
        """Whether this card notifies somebody or links somewhere outside."""


def make_picture(services: Services, index: int = 0, verdict: Verdict | None = None) -> Made:
    """A stored picture as a worker hands it over."""
    from tests.discord.stage import apple

    verdict = verdict or Verdict()
    status = {
        Outcome.ALLOW: GenerationStatus.VISIBLE, Outcome.BLUR: GenerationStatus.BLURRED,
    }.get(verdict.outcome, GenerationStatus.HELD)  # fmt: skip
    return Made(
        index=index, status=status, seed=7 + index, recipe={"seed": 7 + index},
        verdict=verdict.dump(), blob=services.blobs.put(apple(seed=7 + index), "png"),
        width=128, height=128, sha256="ab",
    )  # fmt: skip


def finish(services: Services, *made: Made, **ending: Any) -> str:
    """A worker takes the next job and ends it; the job's id."""
    now = services.clock()
    claim = services.database.write(jobs.claim, worker="w", room=BOTH, now=now)
    assert claim is not None
    wish = Ending(**({"status": JobStatus.SUCCEEDED, "made": made, "cost": 1} | ending))
    done = services.database.write(endings.end_job, claim.job_id, claim.fence, wish, now=now + 900)
    assert done
    return str(claim.job_id)
