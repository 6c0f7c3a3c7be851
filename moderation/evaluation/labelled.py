"""Labelled JSONL of any public set as records. Pure; unknown fields and labels never stop it.

One object a line. The text is the first of ``text``, ``prompt``, ``user_input``, ``input``,
``question``, ``content``, ``Behavior``. Whether it violates is told by, in this order:

* ``label`` (or ``prompt_label``, ``toxicity``, ``is_toxic``, ``toxic``, ``unsafe``, ``hateful``):
  1, true, "unsafe", "harmful", "toxic", "hateful", "injection" ...; 0, false, "safe", "benign" ...;
  -1 and anything unknown means unlabelled;
* the columns ``S H V HR SH S3 H2 V2`` of OpenAI's moderation samples, or ``jailbreaking``;
* ``safe`` true or false.

``cats`` (or ``categories``, ``category``, ``violated_categories``, ``hazard``) name what it
violates, in our codes or in the words of the usual taxonomies; ``lang`` (or ``language``) its
language; ``surface`` is ``ask_out`` for a model's answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.schema import Category

TEXT_FIELDS = ("text", "prompt", "user_input", "input", "question", "content", "Behavior", "query")
LABEL_FIELDS = (
    "label", "prompt_label", "toxicity", "is_toxic", "toxic", "unsafe", "hateful", "is_hateful",
    "prompt_harm_label", "harmful",
)  # fmt: skip
CATEGORY_FIELDS = ("cats", "categories", "category", "violated_categories", "hazard", "code")
_YES = {"1", "true", "yes", "unsafe", "harmful", "toxic", "hateful", "hate", "violating", "bad",
        "injection", "jailbreak", "malicious", "harm", "flagged"}  # fmt: skip
_NO = {"0", "false", "no", "safe", "unharmful", "benign", "fine", "neutral", "non-hateful", "good",
       "harmless", "legitimate", "clean", "ok"}  # fmt: skip
OPENAI = {
    "S": Category.SEX, "S3": Category.CSAE, "H": Category.HATE, "H2": Category.HATE,
    "V": Category.VIO, "V2": Category.GORE, "HR": Category.HAR, "SH": Category.SELF,
}  # fmt: skip
WORDS: Mapping[str, Category] = {
    "vcr": Category.VIO, "ncr": Category.ILL, "src": Category.SEXC, "cse": Category.CSAE,
    "dfm": Category.REAL, "prv": Category.PII, "ipv": Category.IP, "iwp": Category.WEAP,
    "hte": Category.HATE, "ssh": Category.SELF, "sxc": Category.SEX, "sxc_prn": Category.SEX,
    "hate": Category.HATE, "hate speech": Category.HATE, "identity hate": Category.HATE,
    "harassment": Category.HAR, "toxicity": Category.HAR, "profanity": Category.HAR,
    "self-harm": Category.SELF, "self harm": Category.SELF, "suicide": Category.SELF,
    "suicide and self harm": Category.SELF, "sexual": Category.SEX,
    "sexual content": Category.SEX, "sexual (minor)": Category.CSAE,
    "sexual/minors": Category.CSAE, "violence": Category.VIO, "violent crimes": Category.VIO,
    "threat": Category.VIO, "weapons": Category.WEAP, "guns/illegal weapons": Category.WEAP,
    "indiscriminate weapons": Category.WEAP, "illegal": Category.ILL, "illicit": Category.ILL,
    "controlled/regulated substances": Category.ILL, "criminal planning/confessions": Category.ILL,
    "fraud/deception": Category.ILL, "fraud": Category.ILL, "pii": Category.PII,
    "pii/privacy": Category.PII, "privacy": Category.PII, "injection": Category.INJ,
    "jailbreak": Category.INJ, "copyright": Category.IP, "violence/graphic": Category.GORE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text. ``label``: 1 violating, 0 fine, -1 unlabelled; ``codes`` are ours."""

    text: str
    label: int
    codes: frozenset[Category] = frozenset()
    lang: str = "en"
    answer: bool = False
    kind: str = ""


def read_lines(path: Path, assume: int | None = None) -> Iterator[Labelled]:
    """The records of a file; lines that hold no text are passed over.

    ``assume`` is the label of what has none. Raises ``OSError``, and ``ValueError`` naming the
    line that is not a JSON object.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: not JSON") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path.name}, line {number}: not an object")
            record = labelled(row)
            if record is None:
                continue
            if record.label < 0 and assume is not None:
                record = Labelled(
                    record.text, assume, record.codes, record.lang, record.answer, record.kind
                )
            yield record


def labelled(row: Mapping[str, Any]) -> Labelled | None:
    """One object as a record; ``None`` when it has no text."""
    text = next((row[f] for f in TEXT_FIELDS if isinstance(row.get(f), str) and row[f].strip()), "")
    if not text:
        return None
    label = _label(row)
    codes = frozenset(_codes(row)) if label != 0 else frozenset[Category]()
    lang = str(row.get("lang") or row.get("language") or "en")
    kind = str(row.get("func") or row.get("type") or row.get("kind") or "")
    answer = row.get("surface") in ("ask_out", "answer", "response")
    return Labelled(text, label, codes, lang, answer, kind)


def _label(row: Mapping[str, Any]) -> int:
    for field in LABEL_FIELDS:
        if field in row and row[field] is not None:
            known = _truth(row[field])
            if known == 0 and _truth(row.get("jailbreaking")) == 1:
                return 1
            return known
    marks = [_truth(row[c]) for c in OPENAI if c in row]
    if marks:
        return 1 if 1 in marks else 0 if 0 in marks else -1
    if "safe" in row:
        known = _truth(row["safe"])
        return 1 - known if known >= 0 else -1
    return -1


def _truth(value: object) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return -1 if value < 0 else int(value >= 0.5)
    word = str(value).strip().casefold()
    if word in _YES:
        return 1
    return 0 if word in _NO else -1


def _codes(row: Mapping[str, Any]) -> Iterator[Category]:
    for field in CATEGORY_FIELDS:
        value = row.get(field)
        items = value if isinstance(value, list) else str(value).split(",") if value else []
        for item in items:
            word = str(item).strip()
            if word.upper() in frozenset(Category):
                yield Category(word.upper())
            elif (code := WORDS.get(word.casefold())) is not None:
                yield code
    for column, code in OPENAI.items():
        if column in row and _truth(row[column]) == 1:
            yield code
    if _truth(row.get("jailbreaking")) == 1:
        yield Category.INJ
