"""What may be written into a prompt besides words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import BadInput
from storage.prompts import ADAPTERS_MAX, Named, Part, merge, parse
from storage.schema import Adapter


def weights(prompt: str) -> list[tuple[str, float]]:
    return [(part.text, round(part.weight, 4)) for part in parse(prompt).parts]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("a (red:1.2) apple", [("a ", 1), ("red", 1.2), (" apple", 1)]),
        ("a (very red : 0.5)", [("a ", 1), ("very red ", 0.5)]),
        ("storm++ at sea", [("storm", 1.21), (" at sea", 1)]),
        ("sea, rain--", [("sea, ", 1), ("rain", 0.81)]),
        ("(big, red)+ ball", [("big, red", 1.1), (" ball", 1)]),
        ("((red:1.2) ball:1.5)", [("red", 1.8), (" ball", 1.5)]),
        ("a cat (sat (down:1.3))", [("a cat (sat ", 1), ("down", 1.3), (")", 1)]),
        ("一只猫 (红色:1.3)", [("一只猫 ", 1), ("红色", 1.3)]),
    ],
)
def test_weights(prompt: str, parts: list[tuple[str, float]]) -> None:
    assert weights(prompt) == parts


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat (asleep)",
        "a well-known re-entry, pre- and post-war",
        "C++ logo",
        "smile :) and :-)",
        "((((",
        ") ( )",
        "ratio 3:2 (16:9",
        "a -- b ++ c",
        "<cat-toy> on a table",
        "mail me at a+b@c.d",
        "snake_case_word",
    ],
)
def test_what_is_only_text_stays_as_it_is(prompt: str) -> None:
    parsed = parse(prompt)
    assert (parsed.text, parsed.weighted, parsed.loras) == (prompt, False, ())


def test_a_backslash_takes_the_meaning_away() -> None:
    assert weights(r"a \(red:1.2\) apple\+\+") == [("a (red:1.2) apple++", 1)]


def test_loras_are_taken_out_in_order() -> None:
    parsed = parse("a house <lora:ink:0.8>, at night <lora:snow> <LORA:dark:-0.5>")
    assert parsed.text == "a house , at night"
    assert parsed.loras == (Named("ink", 0.8), Named("snow"), Named("dark", -0.5))


@pytest.mark.parametrize("prompt", ["(red:3)", "((red:1.5):1.5)", "<lora:ink:9>", "(a)++++++++"])
def test_a_weight_that_only_makes_garbage_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="weight_range"):
        parse(prompt)


def test_too_many_loras_are_refused() -> None:
    with pytest.raises(BadInput, match="loras_many"):
        parse("".join(f"<lora:l{i}>" for i in range(ADAPTERS_MAX + 1)))


def test_a_typed_lora_wins_over_the_option() -> None:
    option = (Adapter(name="ink", weight=1), Adapter(name="zinc", weight=1))
    typed = (Adapter(name="ink", weight=0.5), Adapter(name="art"))
    assert [(a.name, a.weight) for a in merge(option, typed)] == [
        ("art", 1.0), ("ink", 0.5), ("zinc", 1),
    ]  # fmt: skip


@given(st.text(alphabet="ab (:1.2)+-<lora>\\红", max_size=60))
def test_any_text_can_be_read(prompt: str) -> None:
    try:
        parsed = parse(prompt)
    except BadInput:
        return
    neighbours = zip(parsed.parts, parsed.parts[1:], strict=False)
    assert all(left.weight != right.weight for left, right in neighbours)
    assert parsed.parts == (Part(""),) or all(part.text for part in parsed.parts)


@given(st.text(max_size=80))
def test_reading_the_words_again_changes_nothing_where_no_brackets_are(prompt: str) -> None:
    plain = "".join(ch for ch in prompt if ch not in "()<>\\+-")
    assert parse(plain).text == plain
