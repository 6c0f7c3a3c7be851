"""A workspace's own prices and tiers: one function for list, quote, hold and settlement."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core.command import Handle, Venue
from bot.core.reply import Verb, Visibility
from storage import jobs, prices
from storage.database import Database
from storage.models import Job, Reservation, Tier, Workspace
from storage.registry import load_registry
from storage.rules import Prices
from storage.schema import JobKind, JobStatus
from tests.conftest import HandClock, chat_spec, image_spec
from tests.fakes import FakeAdapter

ADMIN: dict[str, Any] = {"name": "boss", "role": "admin"}


async def set_(fake: FakeAdapter, path: str, value: str) -> Any:
    return await fake.say("config", **ADMIN, action="set", path=path, value=value)


def held(database: Database, job_id: str) -> int:
    return database.read(lambda s: s.get_one(Reservation, job_id).amount)


def settle(database: Database, job_id: str, clock: HandClock) -> int:
    """Claim the job, charge for it as a worker does, and say what it cost."""
    registry = load_registry()

    def act(session: Session) -> int:
        claim = jobs.claim(session, worker="w", room=dict.fromkeys(JobKind, 9), now=clock())
        assert claim is not None and claim.job_id == job_id
        card = registry.find(claim.spec.model, claim.kind)
        assert claim.spec.kind is JobKind.IMAGE
        cost = prices.pictures_price(claim.spec, card, claim.spec.count, claim.rate)
        jobs.finish(session, job_id, claim.fence, status=JobStatus.SUCCEEDED, now=clock(),
                    cost=cost)  # fmt: skip
        return session.get_one(Job, job_id).cost or 0

    return database.write(act)


async def test_list_quote_hold_and_settlement_are_one_and_a_job_keeps_its_price(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    wish = {"prompt": "a red apple", "count": 2, "seed": 7}
    assert (await fake.say("imagine", **wish, dry_run=True)).data["price"] == 2
    assert (await set_(fake, "prices.picture", "250")).code is None
    assert "2.5 credits" in (await fake.say("credits")).text
    quoted = await fake.say("imagine", **wish, dry_run=True)
    assert quoted.data["price"] == 5
    dear = await fake.say("imagine", **wish)
    assert dear.job_id is not None and held(database, dear.job_id) == 5

    await set_(fake, "prices.picture", "50")
    assert (await fake.say("imagine", **wish, dry_run=True)).data["price"] == 1
    assert settle(database, dear.job_id, clock) == 5, "it keeps the price it was quoted"

    await set_(fake, "prices.models", "starter-icons=0")
    free = await fake.say("imagine", prompt="a pear")
    assert free.job_id is not None and held(database, free.job_id) == 0
    await fake.say("config", **ADMIN, action="undo")
    assert (await fake.say("imagine", prompt="a plum", dry_run=True)).data["price"] == 1


async def test_prices_and_tiers_have_bounds_names_history_and_travel_as_toml(
    fake: FakeAdapter, database: Database
) -> None:
    for path, value in (
        ("prices.picture", "1001"), ("prices.answer", "-1"), ("prices.models", "no-such=50"),
        ("tiers.retention_days", "fre=3"), ("tiers.max_side", "free=10"),
        ("credits.role_tiers", "7=gold"),
    ):  # fmt: skip
        said = await set_(fake, path, value)
        assert said.code == "setting_invalid" and path in said.text, said.text
    assert database.read(lambda s: s.exec(select(Workspace)).one().settings) == {}
    saved = await fake.press(
        Verb.CONFIG, "prices", **ADMIN,
        **{"prices.picture": "120", "prices.answer": "100", "prices.models": "starter-icons=50"},
    )  # fmt: skip
    assert saved.code is None
    await set_(fake, "tiers.private", "free=no")
    exported = (await fake.say("config", **ADMIN, action="export")).data["toml"]
    assert "picture = 120" in exported and "starter-icons = 50" in exported
    broken = exported.replace("picture = 120", "picture = 9000")
    refused = await fake.say("config", **ADMIN, action="import", value=broken)
    assert refused.code == "setting_invalid_line"
    line = refused.data["params"]["line"]
    assert "picture = 9000" in broken.splitlines()[line - 1]
    unknown = exported.replace("starter-icons = 50", "nothing = 50")
    refused = await fake.say("config", **ADMIN, action="import", value=unknown)
    assert "prices.models" in refused.text and "nothing" in refused.text


async def test_a_private_result_needs_a_tier_that_has_them(
    fake: FakeAdapter, database: Database
) -> None:
    fake.handle = Handle(visibility=Visibility.PRIVATE)
    allowed = await fake.say("imagine", prompt="a red apple", private=True)
    assert allowed.job_id is not None
    await set_(fake, "tiers.private", "free=false")
    for command in ("imagine", "ask"):
        no = await fake.say(command, prompt="a red apple", private=True)
        assert no.code == "tier_private" and "leave private out" in no.text.lower()
    fake.handle = Handle()
    assert (await fake.press(Verb.REROLL, allowed.job_id)).code == "tier_private"
    assert (await fake.say("imagine", prompt="a red apple")).code is None
    await fake.say("grant", **ADMIN, member="ann", amount=1, reason="so that there is a member")
    await fake.say("tier", **ADMIN, member="ann", tier="pro", reason="a gift")
    fake.handle = Handle(visibility=Visibility.PRIVATE)
    assert (await fake.say("imagine", prompt="a red apple", private=True)).code is None
    fake.venue = Venue(private=True)
    bob = await fake.say("imagine", "bob", prompt="a red apple", private=True)
    assert bob.code is None, "a direct message is private by itself"


async def test_every_column_of_a_tier_holds_and_a_workspace_only_narrows(
    fake: FakeAdapter, database: Database
) -> None:
    for path, value in (
        ("tiers.max_side", "free=128"), ("tiers.max_steps", "free=20"),
        ("tiers.max_count", "free=2"), ("tiers.max_queued", "free=1"),
        ("tiers.monthly_credits", "free=9"),
    ):  # fmt: skip
        assert (await set_(fake, path, value)).code is None, path
    for values, code in (
        ({"size": "256x256"}, "tier_side"), ({"steps": 40}, "tier_steps"),
        ({"count": 4}, "tier_count"),
    ):  # fmt: skip
        assert (await fake.say("imagine", prompt="a red apple", **values)).code == code
    assert (await fake.say("credits")).data["posted"] == 9
    assert (await fake.say("imagine", prompt="a red apple")).code is None
    assert (await fake.say("imagine", prompt="a pear")).code == "queue_full_member"
    await set_(fake, "tiers.models", '{free = ["smollm2-135m"]}')
    assert (await fake.say("imagine", prompt="a plum", dry_run=True)).code == "tier_model"
    await set_(fake, "tiers.max_count", "free=4")

    def narrow(session: Session) -> None:
        session.get_one(Tier, "free").max_count = 1

    database.write(narrow)
    await set_(fake, "tiers.models", "")
    assert (await fake.say("imagine", prompt="a plum", count=2)).code == "tier_count"


@pytest.mark.parametrize("read, written, price", [(1024, 512, 1), (1025, 512, 2), (5120, 0, 1),
                                                  (9216, 512, 3), (0, 1, 1)])  # fmt: skip
def test_words_read_count_an_eighth_after_the_first(read: int, written: int, price: int) -> None:
    card = load_registry().default(JobKind.CHAT)
    assert prices.tokens_price(written, read, card) == price
    assert prices.tokens_price(written, read, card, 0) == 0


def test_rates_multiply_and_hold_for_every_kind_of_work() -> None:
    registry = load_registry()
    ours = Prices(picture=200, upscale=50, answer=0, vision=300, models={"starter-icons": 50})
    icons = registry.default(JobKind.IMAGE)
    larger = registry.find("starter-upscaler", JobKind.IMAGE)
    talk = registry.default(JobKind.CHAT)
    assert prices.rate_of(image_spec(), icons, ours) == prices.PUBLISHED
    assert prices.rate_of(image_spec(), larger, ours) == 5_000
    assert prices.rate_of(chat_spec(), talk, ours) == 0
    assert prices.rate_of(image_spec(), icons, Prices()) == prices.PUBLISHED
    assert prices.quote(image_spec(count=4), icons, 5_000) == 2
