"""What is typed, as a command and its values."""

from __future__ import annotations

import pytest

from bot.adapters.web.live import WebPresenter
from bot.core.command import CommandInfo
from bot.core.parse import parse_line
from bot.root import known_commands
from tests.web.fakes import FakeStudio, make_core


@pytest.fixture(scope="module")
def catalog() -> list[CommandInfo]:
    return make_core(FakeStudio(WebPresenter())).catalog("en")


TABLE = [
    # a plain prompt, and options anywhere
    ("/imagine a red apple", {"prompt": "a red apple"}),
    (
        "/imagine a red apple seed:7 steps:20 style:flat",
        {"prompt": "a red apple", "seed": "7", "steps": "20", "style": "flat"},
    ),
    ("/imagine seed:7 a red apple", {"prompt": "a red apple", "seed": "7"}),
    ("/imagine a red seed:7 apple", {"prompt": "a red apple", "seed": "7"}),
    ("/IMAGINE Seed:7 x", {"prompt": "x", "seed": "7"}),
    ("  /imagine   x  ", {"prompt": "x"}),
    ("/imagine\nseed:7\na red\napple", {"prompt": "a red\napple", "seed": "7"}),
    # quotes
    (
        '/imagine apple negative:"blurry, dark" seed:1',
        {"prompt": "apple", "negative": "blurry, dark", "seed": "1"},
    ),
    ('/imagine prompt:"a red apple"', {"prompt": "a red apple"}),
    (r'/imagine x negative:"a \"b\" \\ c"', {"prompt": "x", "negative": r'a "b" \ c'}),
    ('/imagine x negative:"no end', {"prompt": "x", "negative": "no end"}),
    ('/imagine x negative:""', {"prompt": "x", "negative": ""}),
    ("/imagine 苹果 negative:“模糊 暗”", {"prompt": "苹果", "negative": "模糊 暗"}),
    ("/imagine 苹果 negative:「模糊 暗」", {"prompt": "苹果", "negative": "模糊 暗"}),
    ("/imagine a 'single' quote", {"prompt": "a 'single' quote"}),
    # only known names are options
    ("/imagine a clock at 12:30", {"prompt": "a clock at 12:30"}),
    ("/imagine http://x.example/a", {"prompt": "http://x.example/a"}),
    ("/imagine foo:bar baz", {"prompt": "foo:bar baz"}),
    ("/imagine reseed:7", {"prompt": "reseed:7"}),
    (r"/imagine the word \seed:7", {"prompt": "the word seed:7"}),
    # a space after the colon: an option only when what follows can be its value
    ("/imagine cat seed: 7", {"prompt": "cat", "seed": "7"}),
    ("/imagine cat style: flat", {"prompt": "cat", "style": "flat"}),
    ("/imagine cat style: a novel", {"prompt": "cat style: a novel"}),
    ("/imagine cat seed:", {"prompt": "cat seed:"}),
    # wrong values are the core's to refuse
    ("/imagine cat seed:abc", {"prompt": "cat", "seed": "abc"}),
    ("/imagine cat style:none-such", {"prompt": "cat", "style": "none-such"}),
    ("/imagine a seed:1 seed:2", {"prompt": "a", "seed": "2"}),
    ("/imagine", {}),
    ("/imagine seed:7", {"seed": "7"}),
    # other scripts
    ("/imagine 一只可爱的猫 seed:7", {"prompt": "一只可爱的猫", "seed": "7"}),
    ("／imagine 一只猫 seed：7 style：flat", {"prompt": "一只猫", "seed": "7", "style": "flat"}),
    ("/imagine\u3000猫\u3000seed:7", {"prompt": "猫", "seed": "7"}),
    ("/imagine 🍎🍏 👩‍🚀 seed:7", {"prompt": "🍎🍏 👩‍🚀", "seed": "7"}),
    ("/imagine تفاحة حمراء seed:7", {"prompt": "تفاحة حمراء", "seed": "7"}),
    ("/imagine \u202eabc\u202c seed:7", {"prompt": "\u202eabc\u202c", "seed": "7"}),
    ("/imagine a\x00b", {"prompt": "a\x00b"}),
]


@pytest.mark.parametrize(("line", "values"), TABLE)
def test_imagine(catalog: list[CommandInfo], line: str, values: dict[str, str]) -> None:
    parsed = parse_line(line, catalog)
    assert parsed.command == "imagine"
    assert parsed.values == values


@pytest.mark.parametrize(
    ("line", "command", "values"),
    [
        ("What is 2+2?", "ask", {"prompt": "What is 2+2?"}),
        ("What is seed:7 style:flat?", "ask", {"prompt": "What is seed:7 style:flat?"}),
        ("你好", "ask", {"prompt": "你好"}),
        ("//shrug", "ask", {"prompt": "/shrug"}),
        ("and / or", "ask", {"prompt": "and / or"}),
        ("", "ask", {"prompt": ""}),
        ("/ask why? temperature:0.3", "ask", {"prompt": "why?", "temperature": "0.3"}),
        ("/credits", "credits", {}),
        ("/credits now", "credits", {"prompt": "now"}),
        ("/nothing at all", "nothing", {"prompt": "at all"}),
        ("/", "", {}),
    ],
)
def test_other_lines(
    catalog: list[CommandInfo], line: str, command: str, values: dict[str, str]
) -> None:
    parsed = parse_line(line, catalog)
    assert (parsed.command, parsed.values) == (command, values)


def test_a_long_line_is_read_in_no_time(catalog: list[CommandInfo]) -> None:
    import time

    start = time.perf_counter()
    for text in (
        "seed:" * 20_000,
        'negative:"' * 20_000,
        " " * 100_000,
        "😀" * 10_000,
        "\\" * 99_999,
    ):
        parse_line(f"/imagine {text}", catalog)
    assert time.perf_counter() - start < 2


def test_nothing_typed_is_lost(catalog: list[CommandInfo]) -> None:
    """Every word of the line is in some value."""
    for line, _ in TABLE:
        if line.count("seed:") > 1:
            continue  # said twice: the last one counts
        parsed = parse_line(line, catalog)
        kept = " ".join([*parsed.values, *parsed.values.values()])
        for word in line.replace("：", ":").replace("\\", " ").split()[1:]:
            for part in word.strip('"“”「」').split(":"):
                assert part.strip('"“”「」').casefold() in kept.casefold()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("/privacy forget", {"action": "forget"}),
        ("/privacy Export", {"action": "export"}),
        ("/privacy nonsense", {"action": "nonsense"}),
        ("/docs remove handbook.md", {"action": "remove", "document": "handbook.md"}),
        ("/docs action:list remove", {"action": "list", "document": "remove"}),
        ("/mod try a text to try", {"action": "try", "text": "a text to try"}),
        ("/config set path:persona value:brief",
         {"action": "set", "path": "persona", "value": "brief"}),
    ],
)  # fmt: skip
def test_a_first_word_may_be_the_first_option_s_choice(line: str, values: dict[str, str]) -> None:
    assert parse_line(line, known_commands("en")).values == values
