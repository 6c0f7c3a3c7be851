"""Precision and recall with intervals. Pure Python over a few thousand numbers; numpy inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Z95 = 1.959963984540054


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927): honest for few and for extreme counts."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the formula is exact, its floating point is not.
    low = 0.0 if hits == 0 else max(0.0, middle - reach)
    return low, 1.0 if hits == n else min(1.0, middle + reach)


def auprc(labels: Sequence[int], scores: Sequence[float]) -> float | None:
    """Area under precision over recall (average precision); ``None`` without both classes.

    Equal scores count as one step, so that order among them does not matter.
    """
    import numpy as np

    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    positives = int(y.sum())
    if positives == 0 or positives == len(y):
        return None
    order = np.argsort(-s, kind="stable")
    y, s = y[order], s[order]
    last = np.flatnonzero(np.append(np.diff(s) != 0, True))
    found = np.cumsum(y)[last]
    precision = found / (last + 1)
    return float((np.diff(np.append(0, found)) * precision).sum() / positives)


def recall_at(labels: Sequence[int], scores: Sequence[float], share: float = 0.01) -> float | None:
    """Recall where at most this share of the negatives scores higher; ``None`` without both."""
    negatives = sorted((s for y, s in zip(labels, scores, strict=True) if y == 0), reverse=True)
    positives = [s for y, s in zip(labels, scores, strict=True) if y == 1]
    if not negatives or not positives:
        return None
    line = negatives[min(int(share * len(negatives)), len(negatives) - 1)]
    return sum(s > line for s in positives) / len(positives)


def bootstrap(
    labels: Sequence[int], scores: Sequence[float], rounds: int = 200
) -> tuple[float, float] | None:
    """The 95 % interval of :func:`auprc` by resampling texts; ``None`` without both classes."""
    import numpy as np

    if auprc(labels, scores) is None:
        return None
    rng = np.random.default_rng(0)
    y, s = np.asarray(labels), np.asarray(scores)
    values = []
    for _ in range(rounds):
        pick = rng.integers(0, len(y), len(y))
        value = auprc(y[pick].tolist(), s[pick].tolist())
        if value is not None:
            values.append(value)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def reliability(
    labels: Sequence[int], scores: Sequence[float], bins: int = 10
) -> list[dict[str, Any]]:
    """Per tenth of the score: how many texts, and which share of them is labelled violating."""
    table: list[list[int]] = [[0, 0] for _ in range(bins)]
    for label, score in zip(labels, scores, strict=True):
        row = table[min(bins - 1, int(score * bins))]
        row[0] += 1
        row[1] += label
    return [
        {"from": i / bins, "to": (i + 1) / bins, "n": n, "share": hits / n if n else None,
         "interval": wilson(hits, n) if n else None}
        for i, (n, hits) in enumerate(table)
    ]  # fmt: skip


def plot(rows: list[dict[str, Any]], title: str) -> str:
    """The reliability table as an SVG: score to the right, share of violating texts upwards."""
    side, edge = 320, 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 2 * edge} {side + 2 * edge}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{edge}" y="20" font-size="13">{_escaped(title)}</text>',
        f'<rect x="{edge}" y="{edge}" width="{side}" height="{side}" fill="none" stroke="#888"/>',
        f'<path d="M{edge} {edge + side}L{edge + side} {edge}" stroke="#bbb"/>',
    ]
    for tick in range(0, 11, 2):
        at = edge + side * tick / 10
        parts.append(f'<text x="{at - 7:.0f}" y="{edge + side + 16}">{tick / 10:g}</text>')
        parts.append(
            f'<text x="{edge - 26}" y="{2 * edge + side - at + 4:.0f}">{tick / 10:g}</text>'
        )
    parts.append(f'<text x="{edge + side / 2 - 14:.0f}" y="{edge + side + 34}">score</text>')
    for row in rows:
        if row["share"] is None:
            continue
        x = edge + side * (row["from"] + row["to"]) / 2
        y = edge + side * (1 - row["share"])
        low, high = (edge + side * (1 - v) for v in row["interval"])
        parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="#ad3f1c"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#ad3f1c"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{y - 5:.1f}" fill="#555">{row["n"]}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
