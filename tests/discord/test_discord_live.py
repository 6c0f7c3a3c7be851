"""Everything at once: delivery, editor and client running side by side, as in a studio."""

from __future__ import annotations

import asyncio
import logging

from bot.core.delivery import Delivery
from storage.redact import redact
from storage.schema import Event, EventType, JobStatus, Platform
from tests.discord.stage import Stage, answer, labels_of, texts_of, until


async def test_a_stream_and_a_picture_go_through_their_whole_lives(stage: Stage) -> None:
    presenter = stage.client.presenter
    parts = [
        asyncio.create_task(presenter.editor.run()),
        asyncio.create_task(Delivery(stage.services, {Platform.DISCORD: presenter}).run()),
    ]
    try:
        await stage.ann.slash(stage.channel, "ask", prompt="What is the capital of France?")
        await stage.ann.slash(stage.channel, "imagine", prompt="a red apple", seed="7")
        claims = {claim.kind: claim for claim in (stage.claim(), stage.claim())}
        chat, image = claims["chat"], claims["image"]
        for claim in (chat, image):
            await stage.services.wire.publish(Event(type=EventType.STATE, job_id=claim.job_id))
        await until(lambda: "Working on it" in "".join(texts_of(c) for c in stage.cards()))
        said = ""
        for sentence in ("It is Paris. ", "Paris lies on the Seine. ", "It is old."):
            said += sentence
            await stage.progress(chat.job_id, text=said)
            await stage.progress(image.job_id, step=len(said) % 20 + 1, steps=20)
            await until(lambda now=said.strip(): now in texts_of(stage.cards()[0]))
        stage.finish(answer(said), claim=chat)
        stage.finish(stage.picture(), claim=image)
        for claim in (chat, image):
            await stage.services.wire.publish(Event(type=EventType.STATE, job_id=claim.job_id))
        await until(lambda: all(job.delivered_at for job in stage.jobs()))
    finally:
        for running in parts:
            running.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    assert [job.status for job in stage.jobs()] == [JobStatus.SUCCEEDED] * 2
    assert len(stage.cards()) == 2
    text, picture = stage.cards()
    assert "It is old." in texts_of(text)
    assert "Regenerate" in labels_of(text)
    assert picture.attachments
    assert "Reroll" in labels_of(picture)


async def test_no_log_line_carries_a_token(stage: Stage) -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(redact(record.getMessage()))

    keep = Keep(level=logging.DEBUG)
    root = logging.getLogger()
    before = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    try:
        await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
        stage.finish(stage.picture())
        await stage.deliver()
    finally:
        root.removeHandler(keep)
        root.setLevel(before)
    tokens = [event["token"] for event in stage.events]
    assert tokens
    for line in lines:
        assert not any(token in line for token in tokens), line
    real = "aW50ZXJhY3Rpb246MTIzNDU2Nzg5MDEyMzQ1Njc4OmFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6"
    bot = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"
    for text in (
        f"PATCH https://discord.com/api/v10/webhooks/123456789012345678/{real}/messages/1",
        f"POST https://discord.com/api/v10/interactions/123456789012345678/{real}/callback",
        f"Authorization: Bot {bot}",
    ):
        assert real not in redact(text)
        assert bot not in redact(text)
