"""A job from the command to the result, as people on Slack see it."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image
from sqlmodel import select

from bot.core import config
from storage.jobs import Made
from storage.models import Job, Post, Workspace
from storage.schema import (
    Category,
    Event,
    EventType,
    Flag,
    GenerationStatus,
    JobStatus,
    Outcome,
    Verdict,
    parse_spec,
)
from tests.conftest import row, sound
from tests.core.test_commands import answer, picture
from tests.slack.conftest import Studio
from tests.slack.person import Person, buttons, until
from tests.slack.world import Stored


async def card_in(studio: Studio, channel: str = "C1", nth: int = 0) -> Stored:
    """The nth message of a channel, once it is there."""
    await until(lambda: len(studio.server.in_channel(channel)) > nth)
    return studio.server.in_channel(channel)[nth]


async def test_imagine_from_the_command_to_the_picture(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a red apple seed:7")
    card = await card_in(studio)
    assert "a red apple" in card.shown()
    assert "In line" in card.shown()
    assert "<!date^" in card.shown(), "a time each reader sees in their own zone"
    assert buttons(card.blocks, "cancel")
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    images = [b for b in card.blocks if b["type"] == "image"]
    assert len(images) == 1
    assert "a red apple" in images[0]["alt_text"]
    assert "`7`" in card.shown()
    assert "Made by AI" in card.shown()
    assert len(studio.server.in_channel("C1")) == 1
    file = studio.server.files[images[0]["slack_file"]["id"]]
    assert "a red apple" in file.alt
    assert "apple" not in file.name, "a file's name is made here"


async def test_four_pictures_fit_one_card(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine cats count:4 seed:1")
    card = await card_in(studio)
    await studio.finish(*(picture(studio.put(), index=n) for n in range(4)))
    await until(lambda: sum(b["type"] == "image" for b in card.blocks) == 4)
    assert len(buttons(card.blocks, "report")) == 1, "one Report for all of them"
    assert len(buttons(card.blocks, "delete")) == 4
    assert len({e["value"] for e in buttons(card.blocks, "delete")}) == 4


async def test_progress_is_drawn_without_a_new_message(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a house")
    card = await card_in(studio)
    claim = await studio.begin()
    studio.presenter._budget._per_job = 0.05
    for step in range(1, 11):
        await studio.tell(Event(type=EventType.PROGRESS, job_id=claim.job_id, step=step, steps=20))
    await until(lambda: "Step 10 of 20" in card.shown())
    assert "▰▰▰▰▰▰▱▱▱▱▱▱" in card.shown()
    assert "50 %" in card.shown()
    assert len(studio.server.in_channel("C1")) == 1


async def test_a_blurred_picture_is_blurred_before_it_leaves(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine something")
    card = await card_in(studio)
    sharp = Image.new("RGB", (64, 64), "white")
    sharp.paste("black", (0, 0, 32, 64))
    out = io.BytesIO()
    sharp.save(out, "PNG")
    blob = studio.services.blobs.put(out.getvalue(), "png")
    made = picture(blob)
    await studio.finish(Made(**{**made.__dict__, "status": GenerationStatus.BLURRED}))
    await until(lambda: any(b["type"] == "image" for b in card.blocks))
    assert "Blurred" in card.shown()
    (file,) = studio.server.files.values()
    pixels = Image.open(io.BytesIO(file.data)).convert("L")
    assert 40 < pixels.getpixel((30, 32)) < 215, "an edge is no edge any more"  # type: ignore[operator]


async def test_what_is_held_is_not_uploaded(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine something")
    card = await card_in(studio)
    flag = Flag(category=Category.GORE, score=0.9, stage="image.test")
    held = picture(studio.put(), Verdict(outcome=Outcome.HOLD, flags=frozenset({flag})))
    await studio.finish(held)
    await until(lambda: "Held for review" in card.shown())
    assert studio.server.files == {}
    assert "GORE" not in card.shown() and "GORE" in (await until(ann.notes))[-1]
    assert "tell a moderator" in ann.notes()[-1]


async def test_a_refused_prompt_is_said_to_its_writer_only(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a naked child")
    note = (await until(ann.notes))[-1]
    assert "safety of minors" in note
    assert "naked" not in note
    assert studio.server.in_channel("C1") == []
    assert studio.database.read(lambda s: s.exec(select(Job)).all()) == []


async def test_an_answer_in_a_channel(studio: Studio, ann: Person) -> None:
    await ann.slash("/ask What is a **bold** <!channel>?")
    card = await card_in(studio)
    await studio.finish(answer("It is **bold**.\n\n- one\n- two\n\n```py\nx = 1\n```"))
    await until(lambda: buttons(card.blocks, "regenerate"))
    rich = [b for b in card.blocks if b["type"] == "rich_text"]
    kinds = [element["type"] for block in rich for element in block["elements"]]
    assert "rich_text_list" in kinds
    assert "rich_text_preformatted" in kinds
    assert {"type": "text", "text": "bold", "style": {"bold": True}} in rich[1]["elements"][0][
        "elements"
    ]


async def test_credits_help_queue_and_history_are_private(studio: Studio, ann: Person) -> None:
    for line, words in (
        ("/credits", "You can spend"), ("/help", "/imagine"), ("/queue", ""), ("/history", ""),
        ("/atelier help", "/imagine"), ("/atelier", "/imagine"),
    ):  # fmt: skip
        before = len(ann.notes())
        await ann.slash(line)
        await until(lambda before=before: len(ann.notes()) > before)
        assert words in ann.notes()[-1]
    assert studio.server.in_channel("C1") == []


async def test_the_umbrella_command_holds_the_others(studio: Studio, ann: Person) -> None:
    await ann.slash("/atelier imagine a boat seed:5")
    card = await card_in(studio)
    assert "a boat" in card.shown()
    spec = parse_spec(studio.database.read(lambda s: s.exec(select(Job)).one()).spec)
    assert spec.seed == 5


async def test_chinese_for_who_reads_chinese(studio: Studio, ann: Person) -> None:
    studio.server.people["UANN"] = {"locale": "zh-CN", "profile": {"display_name": "安"}}
    await ann.slash("/imagine 一只猫 种子")
    card = await card_in(studio)
    assert "排队中" in card.shown()
    assert "一只猫" in card.shown()
    await ann.slash("/credits")
    assert "积分" in (await until(ann.notes))[-1]


async def test_a_command_without_its_text_opens_a_dialogue(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine")
    (view,) = await until(lambda: list(studio.server.views.values()))
    names = [b["block_id"] for b in view["blocks"]]
    assert names[0] == "option.prompt"
    assert {"option.seed", "option.style", "option.count"} <= set(names)
    assert not view["blocks"][0]["optional"]
    await ann.submit(view, prompt="a blue chair", seed="9", style="flat")
    card = await card_in(studio)
    assert "a blue chair" in card.shown()
    spec = parse_spec(studio.database.read(lambda s: s.exec(select(Job)).one()).spec)
    assert (spec.seed, spec.style) == (9, "flat")


async def test_a_wrong_value_is_said_in_its_field_and_the_dialogue_stays(
    studio: Studio, ann: Person
) -> None:
    await ann.slash("/imagine")
    (view,) = await until(lambda: list(studio.server.views.values()))
    for option, value, words in (
        ("count", "9", "1 to 4"), ("seed", "many", "0 to"), ("prompt", "   ", "text is empty"),
        ("guidance", "99", "between 0 and 30"),
    ):  # fmt: skip
        await ann.submit(view, **({"prompt": "a chair"} | {option: value}))
        assert ann.refused is not None
        assert ann.refused["response_action"] == "errors"
        assert words in ann.refused["errors"][f"option.{option}"]
    assert studio.database.read(lambda s: s.exec(select(Job)).all()) == []
    await ann.submit(view, prompt="a chair")
    assert ann.refused is None
    await card_in(studio)


async def test_job_brings_a_card_and_its_buttons_back(
    studio: Studio, ann: Person, bob: Person
) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    job_id = await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    await ann.slash(f"/job {job_id}")
    copy = await card_in(studio, nth=1)
    assert [b["type"] for b in copy.blocks] == [b["type"] for b in card.blocks]
    await ann.press(copy, "delete")
    await until(lambda: not buttons(copy.blocks, "delete"))
    await until(lambda: not buttons(card.blocks, "delete"))


async def test_cancel_by_command(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    job_id = buttons(card.blocks, "cancel")[0]["value"]
    await ann.slash(f"/cancel {job_id}")
    await until(lambda: "Cancelled" in card.shown())
    assert "Cancelled" in (await until(ann.notes))[-1]
    assert row(studio.database, job_id).status == JobStatus.CANCELLED
    assert sound(studio.database)


async def test_where_the_bot_is_not_the_card_comes_as_a_direct_message(
    studio: Studio, ann: Person
) -> None:
    await ann.slash("/imagine a lamp", channel="C2")
    card = await card_in(studio, ann.direct)
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    assert studio.server.in_channel("C2") == []
    assert "/invite" in studio.server.in_channel(ann.direct)[1].text


async def test_a_private_result_is_a_direct_message_not_an_ephemeral(
    studio: Studio, ann: Person
) -> None:
    """An ephemeral message cannot be edited and is gone when Slack is loaded again."""
    from bot.core.command import Handle, Invocation
    from bot.core.reply import Visibility

    person = await studio.part._desk.people.find("UANN")  # type: ignore[union-attr]
    desk = studio.part._desk
    assert desk is not None
    from bot.adapters.slack.events import Scene

    scene = Scene(member="UANN", name="ann", channel="C1")
    reply = await studio.core.dispatch(
        Invocation(
            command="imagine", values={"prompt": "mine"}, who=person.who,
            address=desk.address(scene), key="k1", handle=Handle(visibility=Visibility.PRIVATE),
        )
    )  # fmt: skip
    await desk.show(scene, person, reply)
    card = await card_in(studio, ann.direct)
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    assert studio.server.in_channel("C1") == []
    assert studio.server.ephemeral == []


async def test_a_private_result_comes_as_a_direct_message(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree private:true")
    card = await card_in(studio, ann.direct)
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    assert studio.server.in_channel("C1") == []


async def test_home_shows_balance_line_history_and_settings(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    await ann.event({"type": "app_home_opened", "user": "UANN", "channel": "DUANN", "tab": "home"})
    view = await until(lambda: studio.server.homes.get("UANN"))
    words = json.dumps(view, ensure_ascii=False)
    for expected in ("Credits", "In line", "a tree", "Settings", "/imagine"):
        assert expected in words
    shown = [b["accessory"] for b in view["blocks"] if "accessory" in b]
    await studio.finish(picture(studio.put()))
    await until(lambda: buttons(card.blocks, "reroll"))
    await ann.act(shown[0], None)
    again = await card_in(studio, ann.direct)
    assert any(b["type"] == "image" for b in again.blocks)


def settings_of(studio: Studio) -> dict[str, Any]:
    return studio.database.read(lambda s: dict(s.exec(select(Workspace)).one().settings))


async def test_an_admin_changes_settings_from_home_and_nobody_else_does(
    studio: Studio, ann: Person, bob: Person
) -> None:
    server = studio.server
    server.people["UBOB"] = {"is_admin": True}

    def controls(who: str) -> dict[str, dict[str, Any]]:
        blocks = server.homes[who]["blocks"] if who in server.homes else []
        drawn = [b["accessory"] for b in blocks if "accessory" in b]
        return {b["value"]: b for b in drawn if b["action_id"].startswith("press.config.")}

    for person in (ann, bob):
        await person.event({"type": "app_home_opened", "user": person.id, "channel": person.direct,
                            "tab": "home"})  # fmt: skip
        await until(lambda: person.id in server.homes)  # noqa: B023  (awaited at once)
    assert controls("UANN") == {}
    assert set(controls("UBOB")) == set(config.GROUPS)
    before = json.dumps(server.homes["UBOB"])

    await bob.act(controls("UBOB")["limits"], None)
    view = await until(lambda: next(
        (v for v in server.views.values() if any(b["type"] == "input" for b in v["blocks"])), None
    ))  # fmt: skip
    await bob.submit(view, **{"limits.per_minute": "7"})
    await until(lambda: settings_of(studio) == {"limits": {"per_minute": 7}})
    after = await until(lambda: (now := json.dumps(server.homes["UBOB"])) != before and now)
    assert "7" in after

    # The same dialogue in the hands of somebody else, and the button of a tab they never saw.
    await ann.submit(view | {"id": "VSTOLEN"}, **{"limits.per_minute": "9000"})
    await until(lambda: any("admin" in m.text for m in server.in_channel(ann.direct)))
    await ann.act(controls("UBOB")["limits"], None)
    await until(lambda: any("admin" in json.dumps(v) for v in server.views.values()
                            if not any(b["type"] == "input" for b in v["blocks"])))  # fmt: skip
    assert settings_of(studio) == {"limits": {"per_minute": 7}}


async def test_the_messages_tab_suggests_prompts(studio: Studio, ann: Person) -> None:
    event = {"type": "app_home_opened", "user": "UANN", "channel": "DUANN", "tab": "messages"}
    await ann.event(event)
    (given,) = await until(lambda: studio.server.prompts)
    assert 1 <= len(given["prompts"]) <= 4
    assert given["channel_id"] == "DUANN"


async def test_the_post_remembers_where_the_card_is(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a tree")
    card = await card_in(studio)
    post = await until(
        lambda: studio.database.read(lambda s: s.exec(select(Post).where(Post.message)).first())
    )
    assert (post.channel, post.message, post.token) == ("C1", card.ts, None)
