"""Answers as ``rich_text`` blocks: a structure, not a markup, so nothing in it is parsed by Slack.

A model's answer cannot ping a channel, hide an address behind a label or break a card: bold, code
and lists are elements of their own, and everything else is plain text (FIELD.md 2, line 23).
"""

from __future__ import annotations

from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

Block = dict[str, Any]

_MARKDOWN = MarkdownIt(
    "commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": 12}
).disable(["link", "image", "autolink", "reference", "html_block", "html_inline", "lheading"])
"""The same as the page's: no links, pictures or HTML."""
_LISTS = {"bullet_list_open": "bullet", "ordered_list_open": "ordered"}
_DEEPEST = 8
"""Deepest indent Slack draws."""


def rich_text(markdown: str) -> Block | None:
    """One ``rich_text`` block; None when there is nothing to see."""
    elements = _Builder(_MARKDOWN.parse(markdown)).build()
    return {"type": "rich_text", "elements": elements} if elements else None


def section(*elements: Block) -> Block:
    """One line or paragraph of a rich text."""
    return {"type": "rich_text_section", "elements": list(elements)}


def quote(text: str) -> Block:
    """What somebody said, set off, as plain text."""
    return {"type": "rich_text_quote", "elements": [plain(text)]}


def plain(text: str, **style: bool) -> Block:
    """Letters, with a style or none; an empty text is not an element Slack accepts."""
    element: Block = {"type": "text", "text": text or " "}
    if style:
        element["style"] = style
    return element


def emoji(name: str) -> Block:
    """A standard emoji by its name."""
    return {"type": "emoji", "name": name}


class _Builder:
    """Walks markdown-it's tokens once. Neighbouring paragraphs share a section."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.out: list[Block] = []
        self.kinds: list[str] = []  # the lists we are in
        self.starts: list[int] = []
        self.quoted = 0
        self.gap = False  # a paragraph ended here: the next text starts a new one
        self.fresh = False  # a list began here: it is not the one before it

    def build(self) -> list[Block]:
        for index, token in enumerate(self.tokens):
            self._take(token, self.tokens[index - 1] if index else None)
        return [element for element in self.out if element["elements"]]

    def _take(self, token: Token, before: Token | None) -> None:
        if token.type in _LISTS:
            self.kinds.append(_LISTS[token.type])
            self.starts.append(int(token.attrs.get("start", 1)))
            self.fresh = True
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self.kinds.pop()
            self.starts.pop()
        elif token.type == "blockquote_open":
            self.quoted += 1
        elif token.type == "blockquote_close":
            self.quoted -= 1
        elif token.type == "list_item_open":
            self._item()
        elif token.type in ("fence", "code_block"):
            self._put("rich_text_preformatted", [plain(token.content.rstrip("\n"))])
        elif token.type == "hr":
            self._text([plain("―――")])
        elif token.type == "inline":
            heading = before is not None and before.type == "heading_open"
            self._text(_inline(token, heading))

    def _put(self, kind: str, elements: list[Block], **more: Any) -> None:
        self.out.append({"type": kind, "elements": elements, **more})
        self.gap = False

    def _item(self) -> None:
        indent = min(len(self.kinds) - 1, _DEEPEST)
        last = self.out[-1] if self.out else None
        same = (
            last is not None
            and last["type"] == "rich_text_list"
            and last["style"] == self.kinds[-1]
            and last.get("indent", 0) == indent
            and not self.fresh
        )
        if not same:
            more: dict[str, Any] = {"style": self.kinds[-1], "indent": indent}
            if self.kinds[-1] == "ordered" and self.starts[-1] > 1:
                more["offset"] = self.starts[-1] - 1
            self._put("rich_text_list", [], **more)
        self.fresh = False
        self.out[-1]["elements"].append(section())
        if self.kinds[-1] == "ordered":
            self.starts[-1] += 1
        self.gap = False

    def _text(self, elements: list[Block]) -> None:
        if not elements:
            return
        home = self._home()
        if home and self.gap:
            home.append(plain("\n\n"))
        elif home:
            home.append(plain("\n"))
        home += elements
        self.gap = True

    def _home(self) -> list[Block]:
        """The list of elements the next text belongs to."""
        last = self.out[-1] if self.out else None
        if self.kinds:
            if last is not None and last["type"] == "rich_text_list":
                found: list[Block] = last["elements"][-1]["elements"]
                return found
            # Text of an item that goes on after its code block.
            self._put("rich_text_section", [])
        else:
            kind = "rich_text_quote" if self.quoted else "rich_text_section"
            if last is None or last["type"] != kind:
                self._put(kind, [])
        made: list[Block] = self.out[-1]["elements"]
        return made


def _inline(token: Token, heading: bool) -> list[Block]:
    """The parts of one paragraph; neighbours of one style are joined."""
    style: dict[str, bool] = {"bold": True} if heading else {}
    parts: list[tuple[str, dict[str, bool]]] = []
    for child in token.children or []:
        if child.type in ("strong_open", "em_open"):
            style = style | {"bold" if child.type == "strong_open" else "italic": True}
        elif child.type in ("strong_close", "em_close"):
            gone = "bold" if child.type == "strong_close" else "italic"
            style = {k: v for k, v in style.items() if k != gone or (heading and k == "bold")}
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(("\n", {}))
        elif child.type == "code_inline":
            parts.append((child.content, style | {"code": True}))
        elif child.content:
            parts.append((child.content, style))
    joined: list[tuple[str, dict[str, bool]]] = []
    for text, look in parts:
        if joined and joined[-1][1] == look:
            joined[-1] = (joined[-1][0] + text, look)
        else:
            joined.append((text, look))
    return [plain(text, **look) for text, look in joined]
