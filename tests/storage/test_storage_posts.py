"""Where a card is: known from the first moment, ended once, its token secret and short-lived."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from storage.database import Database
from storage.posts import MARGIN_MS, Draft, Posts, PostState
from storage.schema import Platform
from storage.vault import Vault
from tests.conftest import HandClock, actor, submitted

SECRET = "aW50ZXJhY3Rpb246canary-token"


def posts_of(database: Database, home: Path, clock: HandClock) -> Posts:
    return Posts(database, Vault.open(home), clock)


def placed(database: Database, posts: Posts, clock: HandClock, **draft: object) -> str:
    person = actor(database)
    wish = Draft(**({"token": SECRET, "until": clock.now + 900_000} | draft))  # type: ignore[arg-type]
    return submitted(database, person, also=posts.writer(wish)).id


async def test_a_post_is_there_with_its_job(
    database: Database, tmp_path: Path, clock: HandClock
) -> None:
    posts = posts_of(database, tmp_path, clock)
    job_id = placed(database, posts, clock, private=True)
    post = await posts.get(job_id)
    assert post is not None
    assert (post.token, post.member, post.private) == (SECRET, "ann", True)
    assert (post.state, post.address.channel, post.tries) == (PostState.WAITING, "general", 0)
    assert await posts.get("0" * 26) is None


async def test_a_token_is_not_in_the_database(
    database: Database, tmp_path: Path, clock: HandClock
) -> None:
    posts = posts_of(database, tmp_path, clock)
    job_id = placed(database, posts, clock)
    with database.transaction(read_only=True) as session:
        stored = str(session.execute(text("SELECT * FROM post")).all())
    assert "canary" not in stored
    # Another state folder has another key; a token moved to another row does not open either.
    stranger = await posts_of(database, tmp_path / "other", clock).get(job_id)
    assert stranger is not None
    assert stranger.token is None


async def test_a_token_ends_two_minutes_early_and_is_wiped(
    database: Database, tmp_path: Path, clock: HandClock
) -> None:
    posts = posts_of(database, tmp_path, clock)
    job_id = placed(database, posts, clock)
    clock.advance(900_000 - MARGIN_MS - 1)
    assert (await posts.get(job_id)).token == SECRET  # type: ignore[union-attr]
    clock.advance(1)
    assert (await posts.get(job_id)).token is None  # type: ignore[union-attr]
    assert await posts.wipe() == 0
    clock.advance(MARGIN_MS)
    assert await posts.wipe() == 1
    assert await posts.wipe() == 0


async def test_a_card_is_ended_once(database: Database, tmp_path: Path, clock: HandClock) -> None:
    posts = posts_of(database, tmp_path, clock)
    job_id = placed(database, posts, clock)
    first = await posts.begin(job_id)
    assert first is not None
    assert first.tries == 0
    second = await posts.begin(job_id)
    assert second is not None
    assert (second.tries, second.nonce) == (1, first.nonce)
    assert len(first.nonce) <= 25
    await posts.shown(job_id, "m-1", channel="dm-7")
    assert await posts.at(Platform.FAKE, "dm-7", "m-1") == job_id
    assert [await posts.finished(job_id), await posts.finished(job_id)] == [True, False]
    assert await posts.begin(job_id) is None
    done = await posts.get(job_id)
    assert done is not None
    assert (done.state, done.token, done.address.message) == (PostState.FINAL, None, "m-1")
    # A message that is found late does not open the card again.
    await posts.shown(job_id, "m-1")
    assert (await posts.get(job_id)).state is PostState.FINAL  # type: ignore[union-attr]
    assert await posts.lost(job_id) is False


def test_one_key_for_all_processes(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path).seal("x", "row")
    assert Vault.open(tmp_path).unseal(sealed, "row") == "x"
    assert Vault.open(tmp_path).unseal(sealed, "other row") is None
    assert Vault.open(tmp_path).unseal("junk", "row") is None
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0


async def test_notes_are_kept_one_by_one_and_forgotten(
    database: Database, tmp_path: Path, clock: HandClock
) -> None:
    posts = posts_of(database, tmp_path, clock)
    job_id = placed(database, posts, clock)
    await posts.note(job_id, files={"ab/cd.png": "F1"}, stream="1.2")
    await posts.note(job_id, stream=None)
    await posts.note("0" * 26, stream="nothing to note this on")
    assert (await posts.get(job_id)).extra == {"files": {"ab/cd.png": "F1"}}  # type: ignore[union-attr]


async def test_open_cards_of_a_thread(database: Database, tmp_path: Path, clock: HandClock) -> None:
    posts = posts_of(database, tmp_path, clock)
    first, second = placed(database, posts, clock), placed(database, posts, clock)
    for job_id in (first, second):
        await posts.shown(job_id, f"m-{job_id}", channel="D1", thread="7.7")
    assert await posts.open_in(Platform.FAKE, "D1", "7.7") == [first, second]
    await posts.finished(first)
    assert await posts.open_in(Platform.FAKE, "D1", "7.7") == [second]
    assert await posts.open_in(Platform.FAKE, "D1", "8.8") == []
