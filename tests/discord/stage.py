"""A Discord server on a stage: the real adapter, core, Valkey and SQLite over simcord."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import discord
import simcord
from PIL import Image, ImageDraw
from simcord.actors import MemberActor
from simcord.backend.models import Message
from simcord.builders import ChannelHandle, GuildHandle, RoleHandle
from sqlmodel import select

from bot.adapters.discord.app import DiscordClient
from bot.core.command import Invocation
from bot.core.delivery import Delivery
from bot.core.reply import Reply
from bot.core.services import Services
from storage import endings, jobs
from storage.database import Database
from storage.endings import Ending, Exchange
from storage.jobs import Made
from storage.models import Job
from storage.schema import (
    Category,
    Event,
    EventType,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
)

BOTH = {JobKind.IMAGE: 4, JobKind.CHAT: 4}


def apple(size: int = 128, seed: int = 7, kind: str = "PNG") -> bytes:
    """A small picture, drawn: a red circle with a leaf on a ground that the seed colours."""
    image = Image.new("RGB", (size, size), ((seed * 47) % 90 + 150, 220, (seed * 91) % 90 + 160))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size * 0.2, size * 0.28, size * 0.8, size * 0.88), fill=(205, 40, 45))
    draw.ellipse((size * 0.5, size * 0.12, size * 0.72, size * 0.28), fill=(60, 150, 70))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def noise(size: int) -> bytes:
    """A picture that compresses badly: the largest file its size can make."""
    image = Image.effect_noise((size, size), 90).convert("RGB")
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return out.getvalue()


@dataclass
class Stage:
    """Everything a test of the Discord face may use."""

    env: simcord.Env
    client: DiscordClient
    services: Services
    database: Database
    guild: GuildHandle
    channel: ChannelHandle
    admins: RoleHandle
    ann: MemberActor
    eve: MemberActor
    mod: MemberActor
    boss: MemberActor
    locale: str = "en-US"
    """The language of everybody's Discord."""
    guild_locale: str = "en-US"
    event: dict[str, Any] = field(default_factory=dict)
    """Written over every interaction's payload."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Every interaction's payload as it was sent."""
    nonces: dict[Any, Any] = field(default_factory=dict)
    repeated: int = 0
    """Messages that Discord recognised as sent before."""
    lose_answers: int = 0
    """So many messages are accepted and then time out."""

    # -- What can be seen --------------------------------------------------------------------

    def messages(self, channel: ChannelHandle | None = None) -> list[Message]:
        """Every public message of a channel, oldest first."""
        stored = self.env.backend.messages.get((channel or self.channel).id, {})
        found = [stored[key] for key in sorted(stored)]
        return [message for message in found if not message.flags & 64]

    def cards(self, channel: ChannelHandle | None = None) -> list[Message]:
        """The bot's own messages there."""
        me = self.env.backend.bot_user.id
        return [m for m in self.messages(channel) if m.author_id == me]

    def direct_messages(self) -> list[Message]:
        """What the bot wrote to Ann alone, oldest first."""
        channel = self.env.backend.dm_channels.get(self.ann.id)
        stored = self.env.backend.messages.get(channel or 0, {})
        return [stored[key] for key in sorted(stored)]

    def shown(self, message: Message) -> Any:
        """A message as people hold it, to press its buttons."""
        from simcord.results import to_discord_message

        return to_discord_message(self.env, message)

    async def restart(self) -> None:
        """Kill the bot and start another on the same database; Discord itself goes on."""
        from tests.discord.discord_rules import remember_nonces

        self.client = DiscordClient(self.client.core, gap_s=0.02, channel_gap_s=0.01)
        await self.env.restart_bot(self.client)
        remember_nonces(self)

    def private(self, result: Any) -> str:
        """What only who asked can read: the private answer and what follows it."""
        assert all(m.ephemeral for m in result.followups), "a private answer is private"
        answers = [result.response] if result.ephemeral else []
        return "\n".join(texts_of(m) for m in [*answers, *result.followups] if m is not None)

    def overheard(self) -> list[Invocation]:
        """What the client asks the core for from now on, which answers as ever."""
        seen: list[Invocation] = []
        dispatch = self.client.core.dispatch

        async def spied(invocation: Invocation) -> Reply:
            seen.append(invocation)
            return await dispatch(invocation)

        self.client.core.dispatch = spied  # type: ignore[method-assign]
        return seen

    # -- What the worker would do ------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Every job, oldest first."""
        return self.database.read(lambda s: list(s.exec(select(Job).order_by(Job.id))))

    def claim(self) -> Any:
        """The next job, taken by a worker."""
        claim = self.database.write(jobs.claim, worker="w", room=BOTH, now=self.services.clock())
        assert claim is not None
        return claim

    def finish(self, *made: Made, claim: Any = None, **ending: Any) -> str:
        """End the next job (or a claimed one) as a worker would."""
        claim = claim or self.claim()
        if made and made[0].text is not None:
            spec = self.database.read(lambda s: s.get_one(Job, claim.job_id)).spec
            ending["exchange"] = Exchange(
                thread=spec["thread"], question=spec["turns"][-1]["text"], answer=made[0].text
            )
        wish = Ending(**({"status": JobStatus.SUCCEEDED, "made": made, "cost": 1} | ending))
        now = self.services.clock() + 900
        assert self.database.write(endings.end_job, claim.job_id, claim.fence, wish, now=now)
        return str(claim.job_id)

    def picture(
        self, index: int = 0, verdict: Verdict | None = None, data: bytes | None = None
    ) -> Made:
        """A stored picture."""
        verdict = verdict or Verdict()
        status = GenerationStatus.VISIBLE
        if verdict.outcome is Outcome.BLUR:
            status = GenerationStatus.BLURRED
        elif not verdict.allowed:
            status = GenerationStatus.HELD
        blob = self.services.blobs.put(data or apple(seed=7 + index), "png")
        return Made(
            index=index, status=status, seed=7 + index, recipe={"seed": 7 + index},
            verdict=verdict.dump(), blob=blob, width=128, height=128, sha256="ab",
        )  # fmt: skip

    async def deliver(self, presenter: Any = None) -> int:
        """What delivery does on start and every few seconds."""
        shown = presenter or self.client.presenter
        return await Delivery(self.services, {Platform.DISCORD: shown}).sweep()

    async def progress(self, job_id: str, **facts: Any) -> None:
        """A worker says how far a job is."""
        await self.services.wire.publish(Event(type=EventType.PROGRESS, job_id=job_id, **facts))


def answer(text: str, verdict: Verdict | None = None) -> Made:
    """A finished answer."""
    verdict = verdict or Verdict()
    status = GenerationStatus.VISIBLE if verdict.allowed else GenerationStatus.HELD
    return Made(index=0, status=status, seed=1, recipe={}, verdict=verdict.dump(), text=text)


def held(category: Category = Category.VIO, outcome: Outcome = Outcome.HOLD) -> Verdict:
    """A verdict that keeps something from view."""
    return Verdict(
        outcome=outcome, flags=frozenset({Flag(category=category, score=0.6, stage="image.test")})
    )


def texts_of(message: Any) -> str:
    """Every text a message's components show, in order."""
    found: list[str] = []

    def walk(nodes: Any) -> None:
        for node in nodes or ():
            if isinstance(node.get("content"), str):
                found.append(node["content"])
            walk(node.get("components"))

    walk(message.components)
    return "\n".join(found)


def labels_of(message: Any) -> list[str]:
    """The labels of a message's buttons, in order."""
    found: list[str] = []

    def walk(nodes: Any) -> None:
        for node in nodes or ():
            if node.get("type") == 2:
                found.append(node.get("label", ""))
            walk(node.get("components"))

    walk(message.components)
    return found


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def build_stage(
    env: simcord.Env, client: DiscordClient, services: Services, database: Database
) -> Stage:
    """A server with a member, a stranger, a moderator and an admin, all of them long on Discord."""
    from tests.discord.discord_rules import follow_the_rules

    guild = env.create_guild("Orchard")
    admins = guild.create_role("Admins", permissions=discord.Permissions(manage_guild=True))
    keeper = guild.create_role("Keepers", permissions=discord.Permissions(manage_messages=True))
    made = Stage(
        env=env, client=client, services=services, database=database, guild=guild,
        channel=guild.create_text_channel("studio"), admins=admins,
        ann=guild.add_member(env.create_user("ann", global_name="Ann")),
        eve=guild.add_member(env.create_user("eve", global_name="Eve")),
        mod=guild.add_member(env.create_user("mo", global_name="Mo"), roles=[keeper]),
        boss=guild.add_member(env.create_user("bo", global_name="Bo"), roles=[admins]),
    )  # fmt: skip
    follow_the_rules(made)
    await env.advance_time(8 * 86_400)  # accounts younger than a week get no free credits
    return made


class StageClock:
    """The moment on the stage, in milliseconds; moved by ``env.advance_time``."""

    env: simcord.Env | None = None

    def __call__(self) -> int:
        assert self.env is not None
        return round(self.env.now().timestamp() * 1000)
