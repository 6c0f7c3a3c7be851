"""The small parts by themselves: what refusals mean, files that fit, ids, dialogues, tokens."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
from PIL import Image
from pydantic import SecretStr

from bot.adapters.discord import checks, part
from bot.adapters.discord.faults import Fault, fault_of
from bot.adapters.discord.files import fit_all, shrink
from bot.adapters.discord.forms import modal, typed
from bot.adapters.discord.ids import button_id, form_id, parse_form
from bot.adapters.discord.invite import application_of, invite_link, needed_permissions
from bot.adapters.discord.part import DiscordPart
from bot.adapters.discord.pretend import PretendPart
from bot.adapters.discord.render import PictureFile, words_for
from bot.commands import COMMANDS, PRESSES
from bot.core.attachment import Attachment
from bot.core.command import Core
from bot.core.reply import Button, Form, FormField, Reply, Verb
from bot.core.services import Services
from storage.blobs import Blobs
from storage.errors import OperatorError, RetryLater
from storage.schema import Address, Platform
from tests.discord.stage import apple, noise, until


class Response:
    reason = "no"

    def __init__(self, status: int) -> None:
        self.status = status


def refused(status: int, code: int = 0) -> discord.HTTPException:
    response: Any = Response(status)
    return discord.HTTPException(response, {"code": code, "message": "no"})


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (refused(404, 10062), Fault.LATE),
        (refused(400, 40060), Fault.ANSWERED),
        (refused(401, 50027), Fault.TOKEN),
        (refused(404, 10008), Fault.GONE),
        (refused(413, 40005), Fault.LARGE),
        (refused(413), Fault.LARGE),
        (refused(400, 200000), Fault.BLOCKED),
        (refused(403, 50013), Fault.CLOSED),
        (refused(403, 50007), Fault.CLOSED),
        (refused(429), Fault.WAIT),
        (refused(429, 30046), Fault.WAIT),
        (refused(502), Fault.WAIT),
        (discord.RateLimited(60.0), Fault.WAIT),
        (TimeoutError(), Fault.WAIT),
        (aiohttp.ClientConnectionError(), Fault.WAIT),
        (refused(400, 50035), Fault.BROKEN),
        (ValueError(), Fault.BROKEN),
    ],
)
def test_every_refusal_has_its_action(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) is fault


@pytest.mark.parametrize("limit", [8_000_000, 300_000, 20_000])
def test_a_large_picture_is_made_to_fit(limit: int) -> None:
    kind, data = shrink(noise(1024), limit)
    assert len(data) <= limit
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == {"webp": "WEBP", "jpg": "JPEG"}[kind]


async def test_four_files_share_what_one_message_holds(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    files = [PictureFile(blobs.put(noise(1700 + i), "png"), f"p{i}.png", "") for i in range(4)]
    fitted = await fit_all(blobs, [*files, PictureFile("ab/0000000000000000.png", "x.png", "")])
    assert len(fitted) == 4, "one that is gone is left out"
    assert sum(len(one.data) for one in fitted) < 25 * 2**20
    small = PictureFile(blobs.put(apple(), "png"), "s.png", "an apple")
    (kept,) = await fit_all(blobs, [small])
    assert kept.data == apple(), "what fits is sent as it was stored and signed"
    assert kept.upload().description == "an apple"


def test_ids_hold_a_verb_and_an_id_and_nothing_else() -> None:
    target = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert button_id(Button(verb=Verb.REROLL, target=target, label="x")) == f"at1:reroll:{target}"
    ask = Button(verb=Verb.DELETE, target=target, label="x", confirm="sure?")
    assert button_id(ask) == f"at1:delete?:{target}"
    form = Form(title="t", submit="s", fields=(), verb=Verb.EDIT, target=target)
    assert parse_form(form_id(form)) == ("press", "edit", target)
    assert parse_form(form_id(Form(title="t", submit="s", fields=(), command="imagine"))) == (
        "command", "imagine", "",
    )  # fmt: skip
    for junk in ("", "at1form:", "at1form:eval:x:y", "other:press:edit:1"):
        assert parse_form(junk) is None


def test_a_dialogue_has_an_input_for_every_kind_of_field() -> None:
    kinds: list[Any] = ["long", "text", "image", "flag", "choice"]
    fields = tuple(
        FormField(name=k, label=k, kind=k, choices=("", "a", "b") if k == "choice" else (),
                  value="a" if k == "choice" else "")
        for k in kinds
    )  # fmt: skip
    drawn: Any = modal(Form(title="t" * 60, submit="s", fields=fields), words_for("en")).to_dict()
    assert len(drawn["title"]) <= 45
    types = [node["component"]["type"] for node in drawn["components"]]
    assert types == [4, 4, 19, 23, 3]


def test_what_was_typed_is_read_whatever_a_client_sends() -> None:
    file = {"filename": "../x.png", "url": "https://cdn.discordapp.com/x.png", "size": 3,
            "content_type": "image/png"}  # fmt: skip
    data = {
        "components": [
            {"type": 18, "component": {"type": 4, "custom_id": "prompt", "value": "a"}},
            {"type": 18, "component": {"type": 3, "custom_id": "style", "values": ["-"]}},
            {"type": 18, "component": {"type": 19, "custom_id": "image", "values": ["9"]}},
            {"type": 1, "components": [{"type": 4, "custom_id": "old", "value": "b"}]},
            {"type": 18, "component": {"type": 23, "custom_id": "draft", "value": True}},
            "junk",
        ],
        "resolved": {"attachments": {"9": file}},
    }
    values = typed(data)
    assert values["prompt"] == "a"
    assert values["style"] == ""
    assert values["old"] == "b"
    assert values["draft"] is True
    assert isinstance(values["image"], Attachment)
    assert values["image"].platform is Platform.DISCORD
    assert typed({}) == {}


TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"


def test_a_tokens_shape_is_known_without_asking() -> None:
    assert application_of(TOKEN) == 123456789012345678
    for wrong in ("", "123456789012345678", "a.b.c", "x" * 64, TOKEN.replace(".", ":")):
        assert application_of(wrong) is None


def test_the_invite_asks_for_little() -> None:
    link = invite_link(1)
    assert "scope=bot+applications.commands" in link
    wanted = needed_permissions()
    assert not wanted.administrator
    assert not wanted.mention_everyone
    assert not wanted.manage_messages


async def test_doctor_says_what_is_wrong_with_a_token_and_never_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (found,) = await checks.check("123")
    assert (found.level, "Bot page" in found.cure) == ("bad", True)

    async def refuse(self: Any, token: str) -> None:
        raise discord.LoginFailure("no")

    monkeypatch.setattr(discord.Client, "login", refuse)
    found = (await checks.check(TOKEN))[-1]
    assert found.level == "bad"
    assert "reset it" in found.cure

    async def away(self: Any, token: str) -> None:
        raise aiohttp.ClientConnectionError

    monkeypatch.setattr(discord.Client, "login", away)
    results = await checks.check(TOKEN)
    assert results[-1].level == "note"
    assert all(TOKEN not in f"{r.says}{r.cure}" for r in results)


@pytest.fixture
def core(services: Services) -> Core:
    return Core(services, COMMANDS, PRESSES)


async def test_a_refused_token_stops_with_the_cure(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = DiscordPart(core, SecretStr(TOKEN), lambda line: None)

    async def refuse(token: str) -> None:
        raise discord.LoginFailure("no")

    monkeypatch.setattr(running._client, "login", refuse)
    with pytest.raises(OperatorError, match="Bot page"):
        await running.run()


async def test_without_a_network_it_tries_again_and_says_so(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "_FIRST_PAUSE_S", 0.01)
    said: list[str] = []
    running = DiscordPart(core, SecretStr(TOKEN), said.append)
    tries: list[int] = []

    async def away(token: str) -> None:
        tries.append(1)
        raise aiohttp.ClientConnectionError

    monkeypatch.setattr(running._client, "login", away)
    trying = asyncio.create_task(running.run())
    await until(lambda: len(tries) >= 3)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    assert "trying again" in said[0]
    assert TOKEN not in "".join(said)


async def test_nothing_is_delivered_before_we_are_connected(core: Core) -> None:
    waiting = DiscordPart(core, SecretStr(TOKEN), lambda line: None)
    address = Address(platform=Platform.DISCORD, workspace="1", channel="2")
    with pytest.raises(RetryLater):
        await waiting.present(address, Reply(job_id="x"))


async def test_the_demonstration_opens_its_page(services: Services, core: Core) -> None:
    import dataclasses

    from storage.clock import now_ms

    said: list[str] = []
    real = Core(dataclasses.replace(services, clock=now_ms), COMMANDS, PRESSES)
    demo = PretendPart(real, said.append, locale="zh-CN", port=0)
    running = asyncio.create_task(demo.run())
    await until(lambda: bool(said) or running.done())
    assert "http://127.0.0.1:" in said[0]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
