"""Words and pieces of words as a sparse vector: TF-IDF that needs no library to be used.

Features are single words, pairs of neighbouring words, and runs of three to five letters inside
a word with its edges marked. Term frequencies count as ``1 + log(tf)`` times the inverse document
frequency, and the vector has length one (the usual TF-IDF; Manning et al., *Introduction to
Information Retrieval*, chapter 6).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from moderation.heads import structure
from moderation.stages.normalise import plain

LIMIT = 2000
"""Characters read: the rest of a longer text is judged by the word lists only."""

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_BUILT = "s "
"""How the features of :mod:`moderation.heads.structure` begin."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")


def features(text: str, *, built: bool = True) -> Counter[str]:
    """How often each feature occurs in the first ``LIMIT`` characters; ``built=False`` leaves the
    structural ones out."""
    lower = plain(text[:LIMIT])
    tokens = ["0" if t.isdigit() else t for t in _TOKEN.findall(lower)]
    counts: Counter[str] = Counter(
        _BUILT + name for name in (structure.found(lower) if built else ())
    )
    for token in tokens:
        counts["w " + token] += 1
        if token.isalpha():
            shortest = 1 if _UNSPACED.search(token) else 3
            edged = f"<{token}>"
            for size in range(shortest, 6 if shortest == 3 else 4):
                for start in range(len(edged) - size + 1):
                    counts[edged[start : start + size]] += 1
    for left, right in pairwise(tokens):
        counts[f"p {left} {right}"] += 1
    return counts


def is_built(feature: str) -> bool:
    """Whether a feature is a structural one."""
    return feature.startswith(_BUILT)


def weigh(
    counts: Mapping[str, int], index: Mapping[str, int], idf: Iterable[float]
) -> dict[int, float]:
    """The known features as a sparse vector: position to value. Its n-grams have length one;
    beside them each structural feature counts ``structure.VALUE``, however long the text is."""
    table = idf if isinstance(idf, list) else list(idf)
    values: dict[int, float] = {}
    built: dict[int, float] = {}
    for feature, count in counts.items():
        place = index.get(feature)
        if place is None:
            continue
        if feature.startswith(_BUILT):
            built[place] = structure.VALUE
        else:
            values[place] = (1.0 + math.log(count)) * table[place]
    length = math.sqrt(sum(value * value for value in values.values()))
    return {place: value / length for place, value in values.items()} | built
