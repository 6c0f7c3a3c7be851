"""No sentence is missing in either language, and every blank can be filled."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

from bot.commands import COMMANDS
from bot.core.inputs import options_of
from bot.core.texts import LOCALES, WORDS, load_words, pick_locale, texts_for
from storage import errors
from storage.registry import load_registry
from storage.schema import Category, GenerationStatus, JobStatus

ROOT = Path(__file__).resolve().parents[2]
EN, ZH = (load_words(WORDS, locale) for locale in LOCALES)


def blanks(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_sentences() -> None:
    assert EN.keys() == ZH.keys()


def test_both_languages_have_the_same_blanks() -> None:
    assert {k: blanks(v) for k, v in EN.items()} == {k: blanks(v) for k, v in ZH.items()}


def test_a_sentence_has_the_word_that_goes_with_its_number() -> None:
    texts = texts_for("en")
    assert texts("docs.left_out", n=1).startswith("1 was left out") and "held it." in texts(
        "docs.left_out", n=1
    )
    assert "were left out" in texts("docs.left_out", n="2")
    for sentence in EN.values():
        for _, name, spec, _ in string.Formatter().parse(sentence):
            assert not name or not spec or spec.count("|") == 1, sentence


def test_chinese_is_chinese() -> None:
    plain = [k for k, v in ZH.items() if not re.search(r"[\u4e00-\u9fff]", v)]
    assert plain == []


def test_every_raised_code_has_a_sentence() -> None:
    classes = {
        name for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.MemberError)
    }  # fmt: skip
    known = {
        key
        for folder in (WORDS, *(ROOT / "bot" / "adapters").glob("*/words"))
        for key in load_words(folder, "en")
    }
    missing = []
    for room in ("bot", "moderation", "storage", "worker"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id in classes | {"failed"} and node.args:
                    code = node.args[0]
                    if isinstance(code, ast.Constant) and f"error.{code.value}" not in known:
                        missing.append((path.name, code.value))
    assert missing == []


def test_every_enum_has_its_words() -> None:
    for status in JobStatus:
        assert f"status.{status}" in EN
    for category in Category:
        assert f"category.{category}" in EN
    for shown in (GenerationStatus.HELD, GenerationStatus.REMOVED):
        assert f"picture.{shown}" in EN
    for name, item in vars(errors).items():
        if isinstance(item, type) and issubclass(item, errors.MemberError):
            assert f"title.{name}" in EN


def test_every_command_and_option_has_help() -> None:
    registry = load_registry()
    for locale in LOCALES:
        texts = texts_for(locale)
        for command in COMMANDS:
            assert texts(f"command.{command.name}")
            for option in options_of(command.input, command.name, texts, registry):
                assert option.help


def test_picking_a_language() -> None:
    assert [pick_locale(x) for x in ("zh-CN", "zh_TW", "en-GB", "de", "")] == [
        "zh", "zh", "en", "en", "en",
    ]  # fmt: skip
