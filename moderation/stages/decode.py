"""Text hidden in codes: base64, hexadecimal, rot13, percent and HTML escapes, tag characters. Pure.

Only what decodes to readable text counts, and only fragments long enough not to arise by chance.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import urllib.parse

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,4096}={0,2}(?![A-Za-z0-9+/=_-])")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:0x)?((?:[0-9A-Fa-f]{2}[ :]?){4,2048})(?![0-9A-Fa-f])")
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}){2}")
_ENTITY = re.compile(r"&(?:#\d{2,6}|#[xX][0-9A-Fa-f]{2,5}|[a-z]{2,6});")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_WORD = re.compile(r"[a-z]{2,}")
_MOST = 6
"""Fragments read in one text; a text of nothing but codes is cut there."""

_ROT13_SIGN = re.compile(r"(?i)rot-?13|caesar")


def decoded(text: str) -> list[str]:
    """What the codes in a text say, each fragment by itself; mostly nothing."""
    found: list[str] = []
    if "\\" in text and _ESCAPED.search(text):
        found.append(_ESCAPED.sub(lambda m: chr(int(m[1] or m[2], 16)), text))
    if "%" in text and _PERCENT.search(text):
        found.append(urllib.parse.unquote(text, errors="replace"))
    if "&" in text and _ENTITY.search(text):
        found.append(html.unescape(text))
    found += ["".join(chr(ord(c) - 0xE0000) for c in m[0]) for m in _TAGS.finditer(text)]
    for match in list(_HEX.finditer(text))[:_MOST]:
        with_digits = re.sub(r"[ :]", "", match[1])
        if len(with_digits) % 2 == 0:
            found += _readable(bytes.fromhex(with_digits))
    for match in list(_BASE64.finditer(text))[:_MOST]:
        found += _from_base64(match[0])
    if _ROT13_SIGN.search(text):
        found.append(codecs.decode(text, "rot13"))
    return [piece for piece in found if piece != text]


def rot13(text: str) -> str:
    """Every Latin letter moved by thirteen; its own inverse."""
    return codecs.decode(text, "rot13")


def _from_base64(fragment: str) -> list[str]:
    body = fragment.rstrip("=").replace("-", "+").replace("_", "/")
    if body.islower() or (body.isalpha() and body[1:].islower()):
        return []  # an ordinary word
    try:
        return _readable(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return []


def _readable(raw: bytes) -> list[str]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return []
    if len(text) < 4 or not all(char.isprintable() or char.isspace() for char in text):
        return []
    wordy = sum(char.isalpha() or char.isspace() for char in text)
    return [text] if wordy >= 0.7 * len(text) else []
