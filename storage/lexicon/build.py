"""Makes ``cldr.tsv`` from the character annotations of Unicode's CLDR (licence: Unicode-3.0).

    npm pack cldr-annotations-full@48.2.0 && tar xzf cldr-annotations-full-48.2.0.tgz
    python -m storage.lexicon.build package/annotations > storage/lexicon/cldr.tsv

Each line is a Chinese word, a tab and English words. An emoji's own name counts first; a keyword
counts for the emoji whose Chinese name it is, or is the end of, the shortest such name winning.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_CHINESE = re.compile(r"[\u4e00-\u9fff]{1,8}")
_PLAIN = re.compile(r"[a-z][a-z -]{1,30}")


def read(folder: Path, language: str) -> dict[str, Any]:
    """Character to its name and keywords in one language."""
    data = json.loads((folder / language / "annotations.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = data["annotations"]["annotations"]
    return found


def build(folder: Path) -> dict[str, str]:
    """Chinese word to English words."""
    chinese, english = read(folder, "zh"), read(folder, "en")
    names: dict[str, str] = {}
    ranked: dict[str, tuple[int, int, str]] = {}
    for character, words in chinese.items():
        name = words.get("tts", [""])[0]
        said = english.get(character, {}).get("tts", [""])[0].lower()
        if not (_CHINESE.fullmatch(name) and _PLAIN.fullmatch(said)):
            continue
        names.setdefault(name, said)
        for word in words.get("default", ()):
            if _CHINESE.fullmatch(word) and name.endswith(word):
                rank = (int(word != name), len(name), said)
                ranked[word] = min(ranked.get(word, rank), rank)
    return dict(sorted({w: r[2] for w, r in ranked.items()}.items() | names.items()))


def main() -> None:
    """Writes the list to standard output."""
    for word, said in build(Path(sys.argv[1])).items():
        sys.stdout.write(f"{word}\t{said}\n")


if __name__ == "__main__":
    main()
