"""Grants by the calendar, gifts, corrections, codes and linked accounts, on both databases."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from storage import allowance, credits, ledger, linking
from storage.database import Database
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.models import Entry, LinkCode, Member, PromoCode, Workspace
from storage.pots import Line, pots
from storage.schema import Platform
from storage.workspaces import Actor, account_of, enrol
from tests.conftest import START, actor, sound, submitted

DAY = 86_400_000


def at(text: str) -> int:
    """A moment as milliseconds, from ISO text in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def settings(database: Database, workspace: str = "studio", **values: Any) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.external_id == workspace)).one()
        row.settings = row.settings | values
        session.add(row)

    database.write(write)


def come(database: Database, now: int, name: str = "ann", **more: Any) -> Actor:
    """A member uses the studio at a moment."""
    who: dict[str, Any] = {
        "platform": Platform.FAKE, "workspace": "studio", "workspace_name": "studio",
        "member": name, "member_name": name, "role": "member", "now": now,
    }  # fmt: skip
    return database.write(lambda session: enrol(session, **(who | more)))


def posted(database: Database, person: Actor) -> int:
    return database.read(ledger.balance, account_of(person.member)).posted


def kinds(database: Database, person: Actor) -> list[tuple[str, int]]:
    account = account_of(person.member)
    return [(line.kind, line.amount) for line in database.read(allowance.lines_of, account)]


def spend(database: Database, person: Actor, amount: int, key: str) -> None:
    """Use credits up as a settled job does."""

    def act(session: Session) -> None:
        ledger.reserve(session, account_of(person.member), amount, job_id=key, now=START)
        ledger.settle(session, key, amount, now=START)

    database.write(act)


# -- the calendar ------------------------------------------------------------------------------


def test_a_month_is_granted_once_however_often_one_comes(database: Database) -> None:
    for hour in range(5):
        ann = come(database, at("2027-01-10T10:00") + hour * 3_600_000)
    assert kinds(database, ann) == [("grant", 50)]
    assert posted(database, come(database, at("2027-02-01T00:00"))) == 100


def test_the_month_follows_the_workspace_s_time_zone(database: Database) -> None:
    come(database, at("2027-01-10T10:00"))
    settings(database, credits={"timezone": "Asia/Shanghai"})
    assert posted(database, come(database, at("2027-01-31T15:59"))) == 50
    assert posted(database, come(database, at("2027-01-31T16:00"))) == 100


def test_unused_credits_carry_over_up_to_one_month_s_worth(database: Database) -> None:
    for month in range(1, 7):
        ann = come(database, at(f"2027-0{month}-03T10:00"))
    assert posted(database, ann) == 100
    assert kinds(database, ann).count(("expire", -50)) == 4


def test_gifts_and_codes_do_not_expire_with_the_month(database: Database) -> None:
    ann = come(database, at("2027-01-03T10:00"))
    account = account_of(ann.member)
    database.write(ledger.grant, account, 500, key="admin:1", now=at("2027-01-04T10:00"))
    for month in (2, 3, 4):
        come(database, at(f"2027-0{month}-03T10:00"))
    assert posted(database, ann) == 600
    assert database.read(allowance.pots_of, account).lasting == 500


def test_reserved_credits_do_not_expire(database: Database) -> None:
    ann = come(database, at("2027-01-03T10:00"))
    come(database, at("2027-02-03T10:00"))
    database.write(ledger.reserve, account_of(ann.member), 90, job_id="j", now=START)
    come(database, at("2027-03-03T10:00"))
    assert posted(database, ann) == 140, "only the ten that nobody had reserved went"


def test_a_better_tier_within_the_month_adds_the_difference_once(database: Database) -> None:
    now = at("2027-01-03T10:00")
    come(database, now)
    settings(database, credits={"role_tiers": {"r-pro": "pro"}})
    for _ in range(3):
        ann = come(database, now + DAY, roles=("r-pro",))
    assert (ann.tier.id, posted(database, ann)) == ("pro", 500)
    come(database, now + 2 * DAY)
    again = come(database, now + 3 * DAY, roles=("r-pro",))
    assert posted(database, again) == 500, "leaving and coming back pays nothing"


def test_the_daily_allowance_is_new_each_day_and_gone_at_its_end(database: Database) -> None:
    come(database, at("2027-01-03T10:00"))
    settings(database, credits={"daily_free": 5})
    ann = come(database, at("2027-01-03T11:00"))
    assert posted(database, ann) == 55
    spend(database, ann, 2, "j1")
    come(database, at("2027-01-04T09:00"))
    come(database, at("2027-01-04T10:00"))
    held = database.read(allowance.pots_of, account_of(ann.member))
    assert (held.daily, held.monthly, posted(database, ann)) == (5, 50, 55)
    assert sound(database)


def test_a_fresh_platform_account_gets_no_free_credits_yet(database: Database) -> None:
    now = at("2027-01-10T10:00")
    young = come(database, now, account_created_at=now - 2 * DAY)
    assert posted(database, young) == 0
    assert posted(database, come(database, now + 6 * DAY, account_created_at=now - 2 * DAY)) == 50


def test_a_tier_comes_from_grant_then_role_then_sku_then_default(database: Database) -> None:
    now = at("2027-01-03T10:00")
    boss = come(database, now, "boss", role="admin")
    settings(database, credits={"role_tiers": {"r": "pro"}, "sku_tiers": {"s": "team"}})
    assert come(database, now).tier.id == "free"
    assert come(database, now, entitlements=("s",)).tier.id == "team"
    assert come(database, now, entitlements=("s",), roles=("r",)).tier.id == "pro"
    ann = come(database, now)
    database.write(credits.give_tier, boss, ann.member, "team", reason="prize", now=now)
    assert come(database, now, roles=("r",)).tier.id == "team"
    database.write(credits.give_tier, boss, ann.member, "", reason="over", now=now + 1)
    assert come(database, now + 2).tier.id == "free"
    with pytest.raises(NotFound):
        database.write(credits.give_tier, boss, ann.member, "gold", reason="", now=now)
    with pytest.raises(NotAllowed):
        database.write(credits.give_tier, ann, ann.member, "team", reason="", now=now)


# -- the parts of a balance --------------------------------------------------------------------

LINES = st.lists(
    st.tuples(
        st.sampled_from(["daily", "grant", "gift", "settle", "promo", "refund"]),
        st.integers(1, 60),
    ),
    max_size=30,
)


@given(LINES)
def test_the_pots_always_add_up_and_none_is_overdrawn(steps: list[tuple[str, int]]) -> None:
    total, lines = 0, []
    for kind, amount in steps:
        signed = -min(amount, total) if kind == "settle" else amount
        if signed == 0:
            continue
        key = "grant:m:2027-01" if kind == "grant" else f"{kind}:x"
        lines.append(Line(kind, key, signed))
        total += signed
    held = pots(lines)
    assert held.total == total
    assert min(held.daily, held.monthly, held.lasting) >= 0


def test_what_ends_first_is_spent_first() -> None:
    lines = [
        Line("promo", "promo:1", 10), Line("grant", "grant:m:2027-01", 10),
        Line("daily", "day:m:2027-01-01", 10), Line("settle", "settle:j", -15),
    ]  # fmt: skip
    held = pots(lines)
    assert (held.daily, held.monthly, held.lasting) == (0, 5, 10)


# -- gifts, corrections, codes -----------------------------------------------------------------


def test_a_gift_moves_credits_once_and_never_more_than_there_are(database: Database) -> None:
    ann, bob = actor(database, "ann", credits=100), actor(database, "bob")
    assert database.write(credits.gift, ann, bob.member, 20, key="k", now=START)
    assert not database.write(credits.gift, ann, bob.member, 20, key="k", now=START)
    assert (posted(database, ann), posted(database, bob)) == (130, 70)
    with pytest.raises(LimitReached, match="gift_day"):
        database.write(credits.gift, ann, bob.member, 31, key="k2", now=START)
    assert database.write(credits.gift, ann, bob.member, 30, key="k3", now=START)
    assert database.write(credits.gift, ann, bob.member, 50, key="k4", now=START + DAY)
    assert database.write(credits.gift, ann, bob.member, 50, key="k5", now=START + 2 * DAY)
    with pytest.raises(LimitReached, match="credits_short"):
        database.write(credits.gift, ann, bob.member, 1, key="k7", now=START + 3 * DAY)
    with pytest.raises(BadInput, match="gift_self"):
        database.write(credits.gift, ann, ann.member, 1, key="k6", now=START)
    assert sound(database)


def test_two_who_give_to_each_other_at_once_never_wait_in_a_ring(database: Database) -> None:
    ann, bob = actor(database, "ann", credits=500), actor(database, "bob", credits=500)
    settings(database, limits={"gift_per_day": 10_000})
    ann, bob = actor(database, "ann"), actor(database, "bob")
    troubles: list[Exception] = []

    def give(source: Actor, target: Actor, name: str) -> None:
        try:
            for index in range(12):
                database.write(
                    credits.gift, source, target.member, 1, key=f"{name}{index}", now=START
                )
        except Exception as error:
            troubles.append(error)

    threads = [
        threading.Thread(target=give, args=(ann, bob, "a")),
        threading.Thread(target=give, args=(bob, ann, "b")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert posted(database, ann) == posted(database, bob) == 550
    assert sound(database)


def test_an_admin_corrects_with_a_reason_and_nobody_else(database: Database) -> None:
    boss, ann = actor(database, "boss", role="admin"), actor(database, "ann")
    give: dict[str, Any] = {"reason": "contest", "key": "a", "now": START}
    assert database.write(credits.adjust, boss, ann.member, 100, **give)
    assert not database.write(credits.adjust, boss, ann.member, 100, **give)
    assert database.write(credits.adjust, boss, ann.member, -30, **(give | {"key": "b"}))
    assert posted(database, ann) == 120
    with pytest.raises(LimitReached):
        database.write(credits.adjust, boss, ann.member, -1000, **(give | {"key": "c"}))
    with pytest.raises(BadInput):
        database.write(credits.adjust, boss, ann.member, 5, reason=" ", key="d", now=START)
    with pytest.raises(NotAllowed):
        database.write(credits.adjust, ann, ann.member, 5, **(give | {"key": "e"}))
    last = database.read(credits.entries, account_of(ann.member))[0]
    assert (last.kind, last.reason.startswith("contest")) == ("deduct", True)
    assert sound(database)


def test_a_code_works_so_many_times_and_once_per_member(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    database.write(credits.make_code, boss, "spring-27", 25, uses=2, now=START)
    people = [actor(database, name) for name in ("ann", "bob", "cyd")]
    assert database.write(credits.redeem, people[0], "Spring-27", now=START) == 25
    with pytest.raises(LimitReached, match="code_used"):
        database.write(credits.redeem, people[0], "SPRING-27", now=START)
    assert database.write(credits.redeem, people[1], "SPRING-27", now=START) == 25
    with pytest.raises(LimitReached, match="code_empty"):
        database.write(credits.redeem, people[2], "SPRING-27", now=START)
    with pytest.raises(NotFound):
        database.write(credits.redeem, actor(database, "x", workspace="other"), "SPRING-27",
                       now=START)  # fmt: skip
    assert [posted(database, person) for person in people] == [75, 75, 50]


def test_many_at_once_never_overuse_a_code(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    database.write(credits.make_code, boss, "RUSH", 10, uses=3, now=START)
    people = [actor(database, f"m{index}") for index in range(8)]
    won: list[int] = []

    def try_it(person: Actor) -> None:
        with contextlib.suppress(LimitReached):
            won.append(database.write(credits.redeem, person, "RUSH", now=START))

    threads = [threading.Thread(target=try_it, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 3
    assert database.read(lambda s: s.exec(select(PromoCode)).one().uses) == 3
    assert sound(database)


def test_members_are_found_by_mention_id_or_name(database: Database) -> None:
    ann = actor(database, "ann")
    for wanted in ("<@ann>", "<@!ann>", "<@ann|Ann>", "@ann", "ann", ann.member.id):
        found = database.read(credits.find_member, ann.workspace.id, wanted)
        assert found.id == ann.member.id
    elsewhere = actor(database, "ann", workspace="other")
    with pytest.raises(NotFound):
        database.read(credits.find_member, elsewhere.workspace.id, ann.member.id)


# -- one person, several platforms -------------------------------------------------------------


def test_linked_members_share_balance_and_grant(database: Database) -> None:
    ann = actor(database, "ann", workspace="discord")
    anna = actor(database, "anna", workspace="slack", credits=10)
    code = database.write(linking.ask_code, ann, now=START)
    assert code not in [row.id for row in database.read(lambda s: s.exec(select(LinkCode)).all())]
    holder = database.write(linking.enter_code, anna, code.lower(), now=START)
    assert holder.id == ann.member.id
    anna = actor(database, "anna", workspace="slack")
    assert account_of(anna.member) == account_of(ann.member)
    assert posted(database, anna) == 110
    job = submitted(database, anna, price=100)
    assert database.read(ledger.balance, account_of(ann.member)).available == 10
    assert job.workspace_id == anna.workspace.id
    # A month later the grant comes once, whoever of the two comes first.
    later = START + 35 * DAY
    actor(database, "anna", workspace="slack", now=later)
    actor(database, "ann", workspace="discord", now=later)
    grants = database.read(
        lambda s: s.exec(
            select(Entry).where(Entry.credit == account_of(ann.member), Entry.at == later)
        ).all()
    )
    assert [entry.amount for entry in grants] == [50]
    assert sound(database)


def test_a_link_code_works_once_for_ten_minutes_and_not_for_oneself(database: Database) -> None:
    ann, bob = actor(database, "ann"), actor(database, "bob", workspace="b")
    code = database.write(linking.ask_code, ann, now=START)
    with pytest.raises(BadInput, match="link_self"):
        database.write(linking.enter_code, ann, code, now=START)
    late = database.write(linking.ask_code, ann, now=START)
    with pytest.raises(NotFound):
        database.write(linking.enter_code, bob, late, now=START + linking.LIFE_MS)
    with pytest.raises(NotFound):
        database.write(linking.enter_code, bob, "ABCD-EFGH", now=START)
    submitted(database, bob)
    with pytest.raises(LimitReached, match="link_busy"):
        database.write(linking.enter_code, bob, code, now=START)
    cyd = actor(database, "cyd", workspace="c")
    database.write(linking.enter_code, cyd, code, now=START)
    with pytest.raises(NotFound):
        database.write(linking.enter_code, bob, code, now=START)


def test_links_never_form_a_chain(database: Database) -> None:
    a, b, c = (actor(database, name, workspace=name) for name in "abc")
    database.write(linking.enter_code, b, database.write(linking.ask_code, a, now=START),
                   now=START)  # fmt: skip
    b = actor(database, "b", workspace="b")
    database.write(linking.enter_code, a, database.write(linking.ask_code, c, now=START),
                   now=START)  # fmt: skip
    rows = database.read(lambda s: s.exec(select(Member).order_by(Member.id)).all())
    assert [row.linked_to for row in rows] == [c.member.id, c.member.id, None]
    assert posted(database, actor(database, "b", workspace="b")) == 150
    assert database.write(linking.unlink, actor(database, "b", workspace="b"))
    assert sound(database)


def join(database: Database, who: Actor, to: Actor) -> None:
    """``who`` enters a code that ``to`` asked for."""
    code = database.write(linking.ask_code, to, now=START)
    database.write(linking.enter_code, who, code, now=START)


def test_joining_and_parting_makes_no_code_good_twice(database: Database) -> None:
    boss = actor(database, "boss", role="admin")
    database.write(credits.make_code, boss, "ONCE", 25, uses=9, now=START)

    def ann() -> Actor:
        return actor(database, "ann")

    assert database.write(credits.redeem, ann(), "ONCE", now=START) == 25
    for place in ("b", "c"):
        join(database, ann(), actor(database, "anna", workspace=place))
        with pytest.raises(LimitReached, match="code_used"):
            database.write(credits.redeem, ann(), "ONCE", now=START)
        assert database.write(linking.unlink, ann())
    with pytest.raises(LimitReached, match="code_used"):
        database.write(credits.redeem, ann(), "ONCE", now=START)
    # Nor for the second account of one person in the same place.
    join(database, actor(database, "twin"), ann())
    with pytest.raises(LimitReached, match="code_used"):
        database.write(credits.redeem, actor(database, "twin"), "ONCE", now=START)
    assert database.read(lambda s: s.exec(select(PromoCode)).one().uses) == 1
    assert sound(database)


def test_whose_account_it_is_can_show_a_stranger_the_door(database: Database) -> None:
    ann, eve = actor(database, "ann", credits=100), actor(database, "eve", workspace="b")
    join(database, eve, ann)
    assert account_of(actor(database, "eve", workspace="b").member) == account_of(ann.member)
    assert database.write(linking.unlink, actor(database, "ann"))
    eve = actor(database, "eve", workspace="b")
    assert account_of(eve.member) != account_of(ann.member)
    assert (posted(database, ann), posted(database, eve)) == (200, 0)
    assert not database.write(linking.unlink, actor(database, "ann")), "nobody is left"


def test_two_who_enter_each_other_s_code_at_once_do_not_join_in_a_ring(database: Database) -> None:
    for turn in range(4):
        ann = actor(database, f"ann{turn}", workspace="a")
        bob = actor(database, f"bob{turn}", workspace="b")
        codes = [database.write(linking.ask_code, one, now=START) for one in (ann, bob)]
        gate = threading.Barrier(2)

        def enter(who: Actor, code: str, gate: threading.Barrier = gate) -> None:
            gate.wait()
            with contextlib.suppress(BadInput):
                database.write(linking.enter_code, who, code, now=START)

        threads = [
            threading.Thread(target=enter, args=pair) for pair in ((ann, codes[1]), (bob, codes[0]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = database.read(
            lambda s, a=ann, b=bob: [s.get_one(Member, one.member.id) for one in (a, b)]
        )
        assert sum(row.linked_to is None for row in rows) == 1
        assert {posted(database, Actor(ann.workspace, row, ann.tier)) for row in rows} == {100}
    assert sound(database)


def test_joined_accounts_carry_over_no_more_than_one_month_s_worth(database: Database) -> None:
    now = at("2027-01-03T10:00")
    ann = come(database, now)
    anna = actor(database, "anna", workspace="slack", credits=10, now=now)
    code = database.write(linking.ask_code, ann, now=now)
    database.write(linking.enter_code, anna, code, now=now)
    held = database.read(allowance.pots_of, account_of(ann.member))
    assert (held.monthly, held.lasting) == (100, 10), "a month's credits stay a month's"
    assert posted(database, come(database, at("2027-02-03T10:00"))) == 110
    assert sound(database)


def test_the_credits_card_follows_the_place_where_the_account_is(database: Database) -> None:
    now = at("2027-01-31T20:00")
    ann, boss = come(database, now), come(database, now, "boss", role="admin")
    settings(database, credits={"timezone": "Asia/Shanghai"})
    database.write(credits.give_tier, boss, ann.member, "pro", reason="", now=now)
    ann = come(database, now)
    anna = actor(database, "anna", workspace="slack", now=now)
    join(database, anna, ann)
    anna = actor(database, "anna", workspace="slack", now=now)
    shown = database.read(credits.statement, anna, now=now)
    assert (anna.tier.id, shown.monthly) == ("free", 500)
    assert shown.next_grant_at == at("2027-02-28T16:00"), "it is February in Shanghai already"


def test_two_admins_who_make_one_code_at_once(database: Database) -> None:
    bosses = [actor(database, name, role="admin") for name in ("boss", "mia")]
    gate, said = threading.Barrier(2), []

    def make(boss: Actor) -> None:
        gate.wait()
        try:
            said.append(database.write(credits.make_code, boss, "TWIN", 5, uses=1, now=START).code)
        except BadInput as error:
            said.append(error.code)

    threads = [threading.Thread(target=make, args=(boss,)) for boss in bosses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["TWIN", "code_taken"]
