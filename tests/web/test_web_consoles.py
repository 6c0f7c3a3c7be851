"""The consoles over the real core: figures, audit log, ledger, economics; read and taken along."""

from __future__ import annotations

import httpx

from bot.core.services import Services
from storage import audit
from tests.web.held import hold


async def test_figures_audit_and_ledger_can_be_read_and_taken_along(
    console: httpx.AsyncClient, services: Services
) -> None:
    cases = hold(services, 4)
    for verb, case in (("approve", cases[0]), ("deny", cases[1])):
        said = await console.post("/press", data={"verb": verb, "target": case, "v.code": "HATE"})
        assert said.json()["ok"], said.text
    shown = (await console.get("/review/figures")).text
    assert "image.nudenet" in shown and "95 % interval" in shown
    lines = (await console.get("/review/thresholds?stage=image.nudenet&code=HATE")).json()["lines"]
    assert len(lines) == 21
    rows = (await console.get("/review/audit?format=csv")).text.splitlines()
    assert rows[0].startswith("number,at,actor_id") and len(rows) == 5
    assert (await console.get("/review/audit?format=json")).json()["acts"][0]["verb"] == "deny"
    assert services.database.read(audit.verify) == []
    ledger = await console.get("/ledger?format=csv&kind=settle")
    assert ledger.headers["content-type"].startswith("text/csv")
    assert len(ledger.text.splitlines()) == 5
    assert (
        "not used in time"
        not in (await console.get("/ledger?kind=settle")).text.split("<tbody>")[1]
    )


async def test_economics_shows_every_input_and_refuses_nonsense_in_words(
    console: httpx.AsyncClient, services: Services
) -> None:
    hold(services, 3)
    shown = (await console.get("/economics")).text
    assert 'name="churn"' in shown and 'name="watts"' in shown
    more = (await console.get("/economics?members=1000&conversion=0.5&price_cents=1000")).text
    assert "5000.00" in more, "half of a thousand members at ten a month"
    refused = (await console.get("/economics?churn=lots")).text
    assert "churn cannot be read" in refused
