"""What the heads learn from: the permissive sets of ``data/moderation`` and our own sentences.

Used by :mod:`moderation.heads.train` only. Every record has a *group*; records of one group are
never on both sides of a split (HateCheck's functionalities, near-duplicates). The sets named in
``TESTS`` and the test share of every other set are never trained on, and a training sentence that
resembles one of them is dropped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

HEADS = ("HATE", "HAR", "SELF", "SEX", "SEXC", "VIO", "ILL", "WEAP", "PII")
"""Codes with a head on embeddings and n-grams; INJ has one on n-grams alone."""

TESTS = ("xstest", "simplesafetytests")
"""Never trained on. ``partiprompts`` and ``diffusiondb_refl`` give a half each."""

_ONLY_ONE_SIDE = ("ailuminate_demo_fr",)
"""Never trained on either: there are no harmless questions beside it, and a head that saw it
learnt that French is a violation."""

AILUMINATE = {
    "vcr": "VIO", "ncr": "ILL", "src": "SEXC", "iwp": "WEAP", "hte": "HATE", "ssh": "SELF",
    "sxc_prn": "SEX", "prv": "PII", "ipv": "IP", "dfm": "REAL", "spc_hlt": "ADVICE",
}  # fmt: skip

_SPLIT_FOR_TEST = 0.2
_RESEMBLES = 0.6
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled text. ``codes`` are what it violates; none means fine.

    ``silent`` are the codes it says nothing about (a toxic comment that may or may not be
    hateful is no negative for HATE).
    """

    source: str
    text: str
    codes: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    group: str = ""
    test: bool = False
    weight: float = 1.0
    lang: str = "en"
    kind: str = ""


@dataclass(slots=True)
class Corpus:
    """Every record, tests included."""

    records: list[Record] = field(default_factory=list)

    def train(self) -> list[Record]:
        """Records that may be learnt from."""
        return [record for record in self.records if not record.test]


def _share(group: str) -> float:
    """A number from 0 to 1 that depends on the group's name only: the same split every time."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32


def rows(folder: Path, name: str) -> list[dict[str, object]]:
    """The lines of one set."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _sample(items: list[Record], most: int, seed: int = 5) -> list[Record]:
    random.Random(seed).shuffle(items)
    return items[:most]


def load(folder: Path) -> Corpus:
    """Read the sets and our own sentences; the order is always the same."""
    records: list[Record] = []
    toxic_silent = frozenset(HEADS) - {"HAR"}
    for lang, name in (("en", "ailuminate_demo_en"), ("fr", "ailuminate_demo_fr")):
        for row in rows(folder, name):
            raw = str(row["cats"][0]) if row["cats"] else ""  # type: ignore[index]
            code = AILUMINATE.get(raw, raw.upper())
            number = str(row["id"]).rsplit("-", 1)[-1]
            records.append(
                Record(
                    source=name, text=str(row["text"]), codes=frozenset({code}),
                    silent=frozenset(HEADS) - {code} if code in HEADS else frozenset(HEADS),
                    group=f"ailuminate:{number}", lang=lang,
                )
            )  # fmt: skip
    for row in rows(folder, "hatecheck"):
        func, bad = str(row["func"]), row["label"] == 1
        records.append(
            Record("hatecheck", str(row["text"]), frozenset({"HATE"} if bad else ()),
                   frozenset({"HAR", "VIO"} if bad else ()), f"hatecheck:{func}", kind=func)
        )  # fmt: skip
    multilingual: dict[str, list[Record]] = {}
    for row in rows(folder, "multilingual_hatecheck"):
        func, bad, lang = str(row["func"]), row["label"] == 1, str(row["lang"])
        multilingual.setdefault(lang, []).append(
            Record("multilingual_hatecheck", str(row["text"]), frozenset({"HATE"} if bad else ()),
                   frozenset({"HAR", "VIO"} if bad else ()), f"hatecheck:{func}", lang=lang,
                   kind=func)
        )  # fmt: skip
    for lang in sorted(multilingual):
        records += _sample(multilingual[lang], 250)
    hateful: list[Record] = []
    other: list[Record] = []
    for row in rows(folder, "davidson"):
        bad = row["label"] == 1
        (hateful if bad else other).append(
            Record("davidson", str(row["text"]), frozenset({"HATE"} if bad else ()),
                   frozenset(HEADS) - {"HATE"}, f"davidson:{row['id']}", weight=0.5)
        )  # fmt: skip
    records += _sample(hateful, 700) + _sample(other, 700)
    records += _sample(
        [Record("civil_toxicspans", str(r["text"]), frozenset({"HAR"}), toxic_silent,
                f"civil:{r['id']}") for r in rows(folder, "civil_toxicspans")], 600)  # fmt: skip
    for name in ("surge_toxicity", "wiki_toxicity_small"):
        for row in rows(folder, name):
            bad = row["label"] == 1
            records.append(
                Record(name, str(row["text"]), frozenset({"HAR"} if bad else ()),
                       toxic_silent if bad else frozenset(), f"{name}:{row['id']}")
            )  # fmt: skip
    for name, most in (("diffusiondb_refl", 1500), ("partiprompts", 1632), ("cse_frr_benign", 750),
                       ("sneakyprompt_animals", 100)):  # fmt: skip
        records += _sample(
            [Record(name, str(r["text"]), group=f"{name}:{r['id']}") for r in rows(folder, name)],
            most,
        )
    for name in ("cse_prompt_injection", "piguard_valid"):
        for row in rows(folder, name):
            bad = row["label"] == 1
            variant = str(row.get("variant") or row["id"])
            records.append(
                Record(name, str(row["text"]), frozenset({"INJ"} if bad else ()),
                       frozenset(HEADS) if bad else frozenset(), f"{name}:{variant}", kind=variant)
            )  # fmt: skip
    for name in TESTS:
        for row in rows(folder, name):
            bad = row["label"] == 1
            records.append(
                Record(name, str(row["text"]), frozenset({"ANY"} if bad else ()),
                       group=f"{name}:{row['id']}", test=True, kind=str(row.get("type", "")))
            )  # fmt: skip
    records += list(own())
    return Corpus(_resembling_dropped([_split(record) for record in records]))


def _split(record: Record) -> Record:
    share = 0.5 if record.source in ("partiprompts", "diffusiondb_refl") else _SPLIT_FOR_TEST
    if record.source.startswith("own") or record.source == "self_instruct":
        share = 0.0
    alone = record.source in _ONLY_ONE_SIDE
    test = record.test or alone or _share(record.group) < share
    return Record(
        record.source, record.text, record.codes, record.silent, record.group, test,
        record.weight, record.lang, record.kind,
    )  # fmt: skip


def _tokens(text: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(text.casefold()))


def _resembling_dropped(records: list[Record]) -> list[Record]:
    """Without the training sentences that nearly repeat one of the test-only sets."""
    tests = [_tokens(r.text) for r in records if r.source in TESTS]
    by_word: dict[str, set[int]] = {}
    for number, tokens in enumerate(tests):
        for word in tokens:
            by_word.setdefault(word, set()).add(number)

    def resembles(record: Record) -> bool:
        own_words = _tokens(record.text)
        near: dict[int, int] = {}
        for word in own_words:
            for number in by_word.get(word, ()):
                near[number] = near.get(number, 0) + 1
        return any(
            shared / (len(own_words) + len(tests[number]) - shared) >= _RESEMBLES
            for number, shared in near.items()
        )

    return [r for r in records if r.source in TESTS or r.test or not resembles(r)]


def own() -> Iterator[Record]:
    """Our sentences: ``data/*.toml`` filled in, and the instructions of Self-Instruct."""
    root = files("moderation.heads") / "data"
    for name, code, many in (("self", "SELF", 900), ("inject", "INJ", 1600)):
        data = tomllib.loads((root / f"{name}.toml").read_text(encoding="utf-8"))
        others = frozenset(HEADS) - {code}
        for side, codes in (("positive", frozenset({code})), ("negative", frozenset[str]())):
            silent = others if codes else frozenset[str]()
            part = data[side]
            for number, line in enumerate(part["lines"]):
                yield Record(f"own_{name}", line, codes, silent, f"own_{name}:{side}{number}")
            share = many if codes else many // 4
            for group, text in _filled(part["templates"], data["slots"], share):
                yield Record(f"own_{name}", text, codes, silent, f"own_{name}:{side}:{group}")
    data = tomllib.loads((root / "contrast.toml").read_text(encoding="utf-8"))
    for number, line in enumerate(data["lines"]):
        yield Record("own_contrast", line, group=f"own_contrast:{number}")
    text = (root / "self_instruct.txt").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines()):
        yield Record("self_instruct", line, group=f"self_instruct:{number}")


_SLOT = re.compile(r"\{(\w+)\}")


def _filled(
    templates: list[str], slots: dict[str, list[str]], total: int
) -> Iterator[tuple[int, str]]:
    """About ``total`` texts, each template as often as the others; ``(template, text)``."""
    rng = random.Random(11)

    def fill(text: str) -> str:
        while found := _SLOT.search(text):
            text = text[: found.start()] + rng.choice(slots[found[1]]) + text[found.end() :]
        return text

    seen: set[str] = set()
    if not templates:
        return
    for _, (number, template) in zip(
        range(total), itertools.cycle(enumerate(templates)), strict=False
    ):
        text = fill(template)
        if text not in seen:
            seen.add(text)
            yield number, text


def texts(records: Iterable[Record]) -> list[str]:
    """Their texts."""
    return [record.text for record in records]
