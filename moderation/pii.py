"""Finds and masks what identifies a person: addresses, numbers with check digits, secrets. Pure.

Numbers count only when their check digit is right, so that a seed or a serial number passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: its kind (``email``, ``card`` ...) and place, half-open, in characters."""

    kind: str
    start: int
    end: int


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def luhn(text: str) -> bool:
    """Whether the digits of a payment card add up (ISO/IEC 7812)."""
    digits = [int(d) for d in _digits(text)]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def iban(text: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616: the number modulo 97 is 1)."""
    bare = re.sub(r"\s", "", text).upper()
    if not 15 <= len(bare) <= 34:
        return False
    moved = bare[4:] + bare[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def chinese_id(text: str) -> bool:
    """Whether a resident identity number's last sign is right (GB 11643-1999)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(d) * w for d, w in zip(text[:17], weights, strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def us_ssn(text: str) -> bool:
    """Whether a US social security number is one that may have been issued."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


_NOBODY = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost)$")
"""Domains that are nobody's, by RFC 2606."""


def _real_mail(text: str) -> bool:
    domain = text.rpartition("@")[2].lower()
    return not re.search(
        r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", domain
    )


def _always(_: str) -> bool:
    return True


def _phone(text: str) -> bool:
    return 10 <= len(_digits(text)) <= 15


_SECRET = (
    r"(?<![\w-])(?:sk-(?:proj-)?[A-Za-z0-9_-]{20,200}|gh[pousr]_[A-Za-z0-9]{30,100}"
    r"|xox[abpr]-[A-Za-z0-9-]{10,200}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}"
    r"|eyJ[A-Za-z0-9_-]{10,500}\.[A-Za-z0-9_-]{10,1000}\.[A-Za-z0-9_-]{10,500})(?![\w-])"
)
_EMAIL = (
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}(?![\w-])"
)
_IBAN = r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"
_CARD = r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d.-]*\d)"
_CHINESE_ID = (
    r"(?<!\w)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\w)"
)
_SSN = r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"
_PHONE = r"(?<![\w.+-])(?:\+|00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}(?![\w-])"
_PHONE_US = r"(?<![\w.+-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])"
_PHONE_CN = r"(?<!\d)1[3-9]\d{9}(?!\d)"

_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("secret", re.compile(_SECRET), _always),
    ("email", re.compile(_EMAIL), _real_mail),
    ("iban", re.compile(_IBAN), iban),
    ("card", re.compile(_CARD), luhn),
    ("id", re.compile(_CHINESE_ID), chinese_id),
    ("ssn", re.compile(_SSN), us_ssn),
    ("phone", re.compile(_PHONE), _phone),
    ("phone", re.compile(_PHONE_US), _phone),
    ("phone", re.compile(_PHONE_CN), _always),
)


def find(text: str) -> list[Found]:
    """Every finding, in order, none overlapping another."""
    return list(_apart(_all(text)))


def _all(text: str) -> Iterator[Found]:
    for kind, pattern, sound in _KINDS:
        for match in pattern.finditer(text):
            if sound(match[0]):
                yield Found(kind, *match.span())


def _apart(found: Iterator[Found]) -> Iterator[Found]:
    last = 0
    for item in sorted(found, key=lambda f: (f.start, -f.end)):
        if item.start >= last:
            yield item
            last = item.end


def mask(text: str) -> str:
    """The text with every finding replaced by its kind in brackets; masking twice is the same."""
    parts: list[str] = []
    last = 0
    for item in find(text):
        parts += [text[last : item.start], f"[{item.kind}]"]
        last = item.end
    return "".join([*parts, text[last:]])
