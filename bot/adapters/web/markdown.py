"""Answers as HTML: paragraphs, bold, lists and code of a text that nobody should trust."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt(
    "commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": 12}
).disable(["link", "image", "autolink", "reference", "html_block", "html_inline", "lheading"])
"""No links, pictures or HTML: a model's answer must not send a reader or a request anywhere."""


def to_html(text: str) -> Markup:
    """The text as safe HTML. Headings become bold lines: a card has its own heading."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "p"
            if token.nesting == 1:
                token.attrSet("class", "heading")
        elif token.type in ("paragraph_open", "bullet_list_open", "ordered_list_open"):
            token.attrSet("dir", "auto")
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
