"""A document in passages: cut at headings, paragraphs, sentences, and only then anywhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Count = Callable[[str], int]
"""How many tokens a text has."""

_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？；])|\n")
_HEADING_MOST = 80
"""Characters of a heading that are repeated above each passage of its section."""


def passages(text: str, most: int, count: Count) -> list[str]:
    """The passages of a text or Markdown file, at most ``most`` tokens each by ``count``.

    Each begins with the headings it stands under, so that "Opening hours / Sunday" is found by
    either word. Paragraphs of one section are put together as long as they fit.
    """
    found: list[str] = []
    for heading, body in _sections(text):
        head = f"{heading}\n" if heading and count(heading) * 3 <= most else ""
        room = most - (count(head) if head else 0)
        found += [f"{head}{piece}" for piece in _packed(body, room, count)]
    return found


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each section's path of headings, and what is written under it."""
    path: list[tuple[int, str]] = []
    body: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        found = None if fenced else _HEADING.match(line)
        if found is None:
            body.append(line)
            continue
        yield _joined(path), "\n".join(body)
        body, level = [], len(found[1])
        path = [(n, name) for n, name in path if n < level]
        path.append((level, found[2][:_HEADING_MOST]))
    yield _joined(path), "\n".join(body)


def _joined(path: list[tuple[int, str]]) -> str:
    return " / ".join(name for _, name in path[-2:] if name)


def _packed(body: str, room: int, count: Count) -> Iterator[str]:
    """Paragraphs put together while they fit, larger ones in parts."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", body):
        for piece in _parts(paragraph.strip(), room, count):
            joined = f"{held}\n\n{piece}" if held else piece
            if count(joined) <= room:
                held = joined
                continue
            if held:
                yield held
            held = piece
    if held:
        yield held


def _parts(text: str, room: int, count: Count) -> Iterator[str]:
    """A paragraph whole where it fits, else in sentences, and a sentence in halves."""
    if not text:
        return
    if count(text) <= room:
        yield text
        return
    sentences = [part for part in _SENTENCE.split(text) if part.strip()]
    if len(sentences) > 1:
        for sentence in sentences:
            yield from _parts(sentence.strip(), room, count)
        return
    half = len(text) // 2
    if half == 0:
        return  # one character that takes more than a passage may hold
    space = text.rfind(" ", half // 2, half)
    cut = space if space > 0 else half
    yield from _parts(text[:cut].strip(), room, count)
    yield from _parts(text[cut:].strip(), room, count)
