"""What is typed in a line, as a command and its values: on the page and on Slack. Pure.

    /imagine a red apple seed:7 style:flat negative:"blurry, dark"

Free text is the command's first text option (the prompt); ``name:value`` is an option only when
the command has an option of that name, so that ``a clock at 12:30`` stays text. Where a command's
first option is a choice, its first word may be one: ``/privacy forget``. A value with spaces goes
in quotes; ``\\seed:7`` is text. A line without a slash is a question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.command import CommandInfo
from bot.core.inputs import OptionInfo

ASK = "ask"
"""The command a line without a slash means."""

_SLASH = "/／"  # the second is what a Chinese keyboard types
_COLON = "[:：]"
_QUOTES = {'"': '"', "“": "”", "「": "」", "«": "»"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class Line:
    """A parsed line: the command's name and its values, still as typed."""

    command: str
    values: dict[str, str]


def parse_line(text: str, catalog: Sequence[CommandInfo]) -> Line:
    """The command and values in one typed line. Never fails: the core judges the values."""
    text = text.strip()
    if not text or text[0] not in _SLASH:
        return Line(ASK, {_main_option(_find(ASK, catalog)): text})
    if len(text) > 1 and text[1] in _SLASH:  # "//shrug" asks "/shrug"
        return Line(ASK, {_main_option(_find(ASK, catalog)): text[1:]})
    name, _, rest = _split_once(text[1:])
    name = name.casefold()
    info = _find(name, catalog)
    if info is None:
        return Line(name, {"prompt": rest.strip()} if rest.strip() else {})
    return Line(info.name, _values(rest, info))


def _find(name: str, catalog: Sequence[CommandInfo]) -> CommandInfo | None:
    return next((info for info in catalog if info.name == name), None)


def _split_once(text: str) -> tuple[str, str, str]:
    """Split at the first white space of any kind, keeping what follows as it is."""
    match = re.search(r"\s", text)
    if match is None:
        return text, "", ""
    return text[: match.start()], match.group(), text[match.end() :]


def _main_option(info: CommandInfo | None) -> str:
    """The option that free text fills: the first required text, else the first text, else the
    first of all."""
    if info is None:
        return "prompt"
    texts = [option for option in info.options if option.kind in ("text", "long")]
    required = [option for option in texts if option.required]
    if texts:
        return (required or texts)[0].name
    return info.options[0].name if info.options else "prompt"


def _values(rest: str, info: CommandInfo) -> dict[str, str]:
    options = {option.name.casefold(): option for option in info.options}
    values: dict[str, str] = {}
    free: list[str] = []
    if not options:
        return {"prompt": rest.strip()} if rest.strip() else {}
    names = "|".join(re.escape(name) for name in sorted(options, key=len, reverse=True))
    start = re.compile(rf"(?<!\S)(\\?)({names}){_COLON}", re.IGNORECASE)
    at = 0
    while match := start.search(rest, at):
        free.append(rest[at : match.start()])
        option = options[match.group(2).casefold()]
        if match.group(1):
            free.append(match.group()[1:])
            at = match.end()
            continue
        value, at = _value(rest, match.end(), option)
        if value is None:
            free.append(match.group())
        else:
            values[option.name] = value
    free.append(rest[at:])
    main = _main_option(info)
    text = re.sub(r"[ \t]{2,}", " ", "".join(free)).strip()
    lead, word = info.options[0], text.split(maxsplit=1)[0] if text else ""
    if lead.name not in values and lead.choices and _fits(word, lead):
        values[lead.name], text = word.casefold(), text[len(word) :].strip()
    if main in values and text:
        values[main] = f"{text} {values[main]}"
    elif text:
        values[main] = text
    return values


def _value(rest: str, at: int, option: OptionInfo) -> tuple[str | None, int]:
    """The value that starts at ``at`` and where it ends; None when there is none (plain text)."""
    close = _QUOTES.get(rest[at : at + 1])
    if close:
        return _quoted(rest, at + 1, close)
    found = re.compile(r"\S+").match(rest, at)
    if found:
        return found.group(), found.end()
    # "seed: 7" with a space: an option only when what follows can be its value
    later = re.compile(r"[ \t]+(\S+)").match(rest, at)
    if later and _fits(later.group(1), option):
        return later.group(1), later.end()
    return None, at


def _quoted(rest: str, at: int, close: str) -> tuple[str, int]:
    """Up to the closing quote, where a backslash keeps a quote; unclosed: to the line's end."""
    out: list[str] = []
    while at < len(rest):
        ch = rest[at]
        if ch == "\\" and rest[at + 1 : at + 2] in (close, "\\"):
            out.append(rest[at + 1])
            at += 2
        elif ch == close:
            return "".join(out), at + 1
        else:
            out.append(ch)
            at += 1
    return "".join(out), at


def _fits(word: str, option: OptionInfo) -> bool:
    if option.kind in ("integer", "number"):
        return _NUMBER.fullmatch(word) is not None
    if option.choices:
        return word.casefold() in (choice.casefold() for choice in option.choices)
    return False
