"""`/verify` in chat and on the page: what the marks say, never who."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from bot.cli import verify as command_line
from bot.commands import COMMANDS, PRESSES
from bot.core.attachment import Attachment
from bot.core.command import Core
from bot.core.services import Services
from moderation.marks.facts import Facts
from moderation.marks.identity import ensure_identity
from moderation.marks.marker import as_webp, mark
from moderation.pdq import pdq
from storage import decisions
from storage.schema import Platform
from tests.fakes import FakeAdapter
from tests.marks.pictures import photo

FACTS = Facts(model="starter-icons", made_at=1_800_000_000_000, policy_version="1", mark_id="M4RK")
SECRETS = ("ann", "member", "prompt", "job")


def attached(data: bytes) -> Attachment:
    return Attachment(platform=Platform.LOCAL, name="x.webp", size=len(data), data=data)


@pytest.fixture
def ours(tmp_path: Path) -> bytes:
    return mark(photo(), FACTS, ensure_identity(tmp_path))[0]


async def test_ours_theirs_and_nobodys(fake: FakeAdapter, ours: bytes, tmp_path: Path) -> None:
    reply = await fake.say("verify", image=attached(ours))
    assert reply.data["made_here"] == "yes" and reply.data["signature"] == "ours"
    assert reply.data["model"] == "starter-icons"
    shown = reply.title + reply.text + "".join(f.label + f.value for f in reply.fields)
    assert not [word for word in SECRETS if word in shown.lower()]
    theirs = mark(photo(), FACTS, ensure_identity(tmp_path / "elsewhere"))[0]
    reply = await fake.say("verify", image=attached(theirs))
    assert reply.data["made_here"] == "no"
    bare, _ = as_webp(photo(), None)
    reply = await fake.say("verify", image=attached(bare))
    assert reply.data["made_here"] == "cannot_tell"


async def test_a_known_picture_without_marks(fake: FakeAdapter, services: Services) -> None:
    picture = photo(seed=5)
    bare, _ = as_webp(picture, None, 60)
    found = pdq(picture)
    services.database.write(
        decisions.add_hash, bank="made", pdq=found.digits, quality=found.quality, now=1
    )
    reply = await fake.say("verify", image=attached(bare))
    assert (reply.data["made_here"], reply.data["known"]) == ("yes", "similar")


async def test_what_is_no_picture_gets_a_sentence(fake: FakeAdapter) -> None:
    assert (await fake.say("verify")).code == "upload_not_attached"
    assert (await fake.say("verify", image=attached(b"GIF89a"))).code == "upload_format"
    reply = await fake.say("verify", image=attached(b"\x89PNG\r\n\x1a\n junk"))
    assert reply.code is not None and reply.code.startswith("upload_")


async def test_the_page_takes_a_file(services: Services, ours: bytes) -> None:
    core = Core(services, COMMANDS, PRESSES)
    presenter = WebPresenter()
    app = make_app(core, presenter, token="t0ken")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8642",
        headers={"Authorization": "Bearer t0ken"},
    ) as client:  # fmt: skip
        page = await client.get("/verify")
        assert page.status_code == 200 and 'type="file"' in page.text
        answer = await client.post("/verify", files={"file": ("a.webp", ours, "image/webp")})
        assert answer.status_code == 200 and "Yes: this picture was made here" in answer.text
        answer = await client.post("/verify", content=ours, headers={"Accept": "application/json"})
        assert answer.json()["made_here"] == "yes"
        answer = await client.post("/verify", files={"file": ("a.gif", b"GIF89a", "image/gif")})
        assert answer.status_code == 422 and "PNG" in answer.text
        answer = await client.post("/verify", content=b"")
        assert answer.status_code == 422
        answer = await client.post("/verify", content=b"\x00" * (11 << 20))
        assert answer.status_code == 422
        form = {"Content-Type": "multipart/form-data; boundary=x", "Accept": "application/json"}
        answer = await client.post("/verify", content=b"junk", headers=form)
        assert (answer.status_code, answer.json()["code"]) == (422, "body_invalid")
        sent = 0

        async def without_end() -> AsyncIterator[bytes]:
            nonlocal sent
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            while sent < 64:
                sent += 1
                yield b"\x00" * (1 << 20)

        answer = await client.post("/verify", content=without_end(), headers=form)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_large")
        assert sent < 16, "what is too much is not read to its end"


async def test_the_command_line(
    ours: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    file = tmp_path / "picture.webp"
    file.write_bytes(ours)
    assert await asyncio.to_thread(command_line.run, file, json=False) == 0
    assert "Yes: this picture was made here" in capsys.readouterr().out
    assert await asyncio.to_thread(command_line.run, file, json=True) == 0
    assert '"made_here": "yes"' in capsys.readouterr().out
    assert await asyncio.to_thread(command_line.run, tmp_path / "none.png", json=True) == 2
    assert '"ok": false' in capsys.readouterr().out
