"""Long Markdown in parts that fit a message: between paragraphs, never inside a word or a fence.

Every platform has a longest message, and what users of other bots complain of is the rest of
the answer that never came. Nothing but white space at the seams is lost; a code block that goes
over a seam is closed before it and opened again after it.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^`\n]*)$")
_SEAMS = (
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])"),
    re.compile(r"\s+"),
)
"""Where a paragraph may be parted, best first: lines, sentences, words."""


def split_markdown(text: str, limit: int) -> list[str]:
    """``text`` in parts of at most ``limit`` characters (32 or more); of nothing, no part.

    Parts end between paragraphs where they can, else between lines, sentences, words, and only
    then inside a word that is longer than a part.
    """
    assert limit >= 32
    parts: list[str] = []
    current = ""
    for block in _blocks(text):
        joined = f"{current}\n\n{block}" if current else block
        if len(joined) <= limit:
            current = joined
            continue
        if current:
            parts.append(current)
        pieces = [block] if len(block) <= limit else _pieces(block, limit)
        parts += pieces[:-1]
        current = pieces[-1]
    if current:
        parts.append(current)
    return parts


def _blocks(text: str) -> list[str]:
    """Paragraphs and whole fenced blocks, without the blank lines between them."""
    blocks: list[list[str]] = [[]]
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FENCE.match(line)
        if fence:
            blocks[-1].append(line)
            if _closes(line, fence):
                fence = ""
                blocks.append([])
        elif match:
            fence = match[1]
            blocks.append([line])
        elif line.strip():
            blocks[-1].append(line)
        else:
            blocks.append([])
    return ["\n".join(lines) for lines in blocks if lines]


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(fence) and mark == fence[0] * len(mark)


def _pieces(block: str, limit: int) -> list[str]:
    """A block that is too long, in pieces; a fenced one with its fence around each."""
    head, _, rest = block.partition("\n")
    match = _FENCE.match(head)
    if match is None or len(head) + len(match[1]) + 10 > limit:
        return _cut(block, limit)
    fence = match[1]
    body, _, last = rest.rpartition("\n")
    if not _closes(last, fence):  # never closed: all of it is code
        body = rest
    room = limit - len(head) - len(fence) - 2
    return [f"{head}\n{piece}\n{fence}" for piece in _cut(body, room, _SEAMS[:1])]


def _cut(text: str, limit: int, seams: tuple[re.Pattern[str], ...] = _SEAMS) -> list[str]:
    pieces = []
    while len(text) > limit:
        at, after = limit, limit
        for seam in seams:
            found = [m for m in seam.finditer(text, 0, limit + 1) if 0 < m.start() <= limit]
            # A seam in the first quarter would leave a message of a few words.
            if found and found[-1].start() >= limit // 4:
                at, after = found[-1].span()
                break
        pieces.append(text[:at])
        text = text[after:]
    if text:
        pieces.append(text)
    return pieces
