"""No such page, a question nobody can read, a fault of ours: a sentence each, never a traceback."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bot.adapters.web.desk import own_page
from bot.adapters.web.live import WebPresenter
from storage.errors import NotAllowed, RetryLater
from tests.web.fakes import BASE, JSON, TOKEN, FakeStudio

HTML = {"Accept": "text/html"}


class Faulty(FakeStudio):
    """A studio whose balance cannot be read, once it is told why."""

    fault: Exception | None = None

    async def balance(self) -> Any:
        if self.fault is not None:
            raise self.fault
        return await super().balance()


@pytest.fixture
def studio(presenter: WebPresenter) -> Faulty:
    return Faulty(presenter)


@pytest.fixture
async def visitor(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """One whose server tells its faults as a real one does, instead of raising them here."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Origin": BASE, "Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        yield client


async def test_an_address_that_leads_nowhere(visitor: httpx.AsyncClient) -> None:
    lost = await visitor.get("/nowhere", headers=HTML)
    assert lost.status_code == 404
    assert "There is nothing here" in lost.text and 'href="/"' in lost.text
    chinese = await visitor.get("/nowhere", headers=HTML | {"Accept-Language": "zh"})
    assert "这里什么也没有" in chinese.text
    assert (await visitor.get("/nowhere", headers=JSON)).json()["code"] == "page_unknown"
    odd = await visitor.get("/history?part=lots", headers=HTML)
    assert odd.status_code == 422 and "That cannot be opened" in odd.text
    assert (await visitor.delete("/")).status_code == 405


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (NotAllowed("moderators_only"), 422, "Only a moderator"),
        (RetryLater("locked"), 503, "very busy"),
        (RuntimeError("secret"), 500, "Something went wrong on our side"),
    ],
)
async def test_what_a_page_raises_is_a_sentence(
    visitor: httpx.AsyncClient, studio: Faulty, caplog: pytest.LogCaptureFixture,
    error: Exception, status: int, said: str,
) -> None:  # fmt: skip
    studio.fault = error
    shown = await visitor.get("/verify", headers=HTML)
    assert shown.status_code == status
    assert said in shown.text and "secret" not in shown.text and "Traceback" not in shown.text
    if found := re.search(r"Reference: (\w+)", shown.text):
        assert found.group(1) in caplog.text


@pytest.mark.parametrize(
    ("named", "back"),
    [
        ("/ledger", "/ledger"), ("/review/figures", "/review/figures"),
        ("/history?kept=1", "/history?kept=1"), ("/?token=secret", "/"), ("//evil.example", "/"),
        ("/economics?members=5&token=x", "/economics?members=5"), ("https://evil.example/", "/"),
        ("/blobs/ab/abcdef01.png", "/"), ("/ledger\r\nX: y", "/"),
    ],
)  # fmt: skip
async def test_a_choice_of_language_leads_back_to_where_it_was_made(
    page: httpx.AsyncClient, named: str, back: str
) -> None:
    assert own_page(named) == back
    answer = await page.post("/preferences", data={"locale": "zh", "back": named})
    assert answer.headers["location"] == back
