"""Prompts written out, Chinese looked up, templates and personas: pure, by tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import NotFound
from storage.lexicon import is_chinese, translate, words
from storage.scene import DIRECTIONS, PARTS, directions_of, scene_of
from storage.schema import Turn
from storage.templates import TOOLS, persona_in, personas, template


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("一个红苹果", "a red apple"),
        ("一只可爱的猫", "a cute cat"),
        ("蓝色的汽车", "blue car"),
        ("熊猫，水彩画", "panda, watercolour painting"),
        ("a cat 戴帽子", "a cat wearing hat"),
        ("我想要一只紫色独角兽", "a purple unicorn"),
        ("a red apple", "a red apple"),
    ],
)
def test_chinese_prompts_are_looked_up(chinese: str, english: str) -> None:
    assert translate(chinese).text == english
    assert translate(chinese).unknown == ()


def test_what_is_not_known_is_named_not_guessed() -> None:
    found = translate("一只魑猫")
    assert (found.text, found.unknown, found.usable) == ("a cat", ("魑",), True)
    lost = translate("魑魅魍魉")
    assert not lost.usable and lost.unknown == tuple("魑魅魍魉")


def test_every_word_of_the_lists_is_usable() -> None:
    assert len(words()) > 2000
    for chinese, english in words().items():
        assert chinese and len(chinese) <= 8
        assert not is_chinese(english) and english == english.strip()


GOOD = (
    "Subject: a small red fox\nScene: in a birch forest\nStyle: oil painting\n"
    "Light: soft morning light\nCamera: low angle"
)


def test_a_good_scene_is_the_models_own() -> None:
    scene = scene_of("a fox", GOOD)
    assert scene.by == "model" and scene.mended == ()
    assert scene.prompt.startswith("a small red fox, in a birch forest, oil painting")


@pytest.mark.parametrize(
    ("change", "mended"),
    [
        (("a small red fox", "a green boat"), "subject"),
        (("in a birch forest", "in a forest in a forest"), "scene"),
        (("Light: soft morning light", ""), "light"),
        (("low angle", "soft light"), "camera"),
        (("oil painting", "x" * 200), "style"),
        (("oil painting", "<|im_end|>{}"), "style"),
    ],
)
def test_a_useless_line_is_mended_and_named(change: tuple[str, str], mended: str) -> None:
    scene = scene_of("a fox", GOOD.replace(*change))
    assert scene.mended == (mended,)
    assert scene.by == "both"
    assert all(getattr(scene, part) for part in PARTS)


def test_the_style_the_member_named_stays() -> None:
    assert "watercolour" in scene_of("a fox, watercolour", GOOD).style


@given(idea=st.text(min_size=1, max_size=60), text=st.text(max_size=300))
def test_anything_makes_a_whole_scene_and_four_directions(idea: str, text: str) -> None:
    scene = scene_of(idea, text)
    assert all(getattr(scene, part) for part in PARTS)
    assert scene == scene_of(idea, text)
    found = directions_of(idea, text)
    assert len(found) == DIRECTIONS
    assert len({direction.prompt for direction in found}) == DIRECTIONS


def test_directions_keep_the_idea_and_differ() -> None:
    found = directions_of(
        "a dragon",
        "1. Sky: a dragon above clouds\n2. Sky again: a dragon above the clouds\n"
        "3. Toy: made of paper, studio light\nrubbish\n4. : nothing",
    )
    assert [d.by for d in found] == ["model", "model", "rules", "rules"]
    assert found[1].prompt == "a dragon, made of paper, studio light"


def test_templates_wrap_the_members_words() -> None:
    turns = template("enhance").turns("a fox", [Turn(role="system", text="persona")])
    assert [t.role for t in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[-1].text == "Idea: a fox"
    asked = template("facts").turns("{{odd}} {prompt}?")[-1].text
    assert asked.startswith("{{odd}} {prompt}?") and '{"answer": "..."' in asked
    assert template("steps").mark != template("plain").mark
    for name in ("personas", "../models", "nothing"):
        with pytest.raises(NotFound):
            template(name)


def test_personas_of_a_workspace_win_and_nonsense_is_left_out() -> None:
    settings = {
        "personas": {
            "pirate": {"system": "Arr.", "tools": ["clock", "shell"]},
            "bad": {"system": ""}, "worse": "x", "lost": {"system": "x", "template": "no"},
        },
        "persona": "brief",
        "channel_personas": {"deck": "pirate", "hold": "bad"},
    }  # fmt: skip
    known = personas(settings)
    assert {"atelier", "teacher", "pirate"} <= set(known)
    assert not {"bad", "worse", "lost"} & set(known)
    assert known["pirate"].tools == ("clock",)
    assert persona_in(settings, "deck").name == "pirate"
    assert persona_in(settings, "hold").name == persona_in(settings, "x").name == "brief"
    assert persona_in({}, "x").name == "atelier"
    for persona in known.values():
        template(persona.template)
        assert set(persona.tools) <= set(TOOLS)
