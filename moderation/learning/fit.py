"""One code's correction: a logistic regression that starts from "as shipped". numpy only.

The inputs are a one, the shipped head's logit and the embedding; the prior is (0, 1, 0), that is
the shipped head itself, and every step away from it costs (L2). Labels come from what filters
held, so they are no sample of what is typed: anchors (training texts of the shipped heads, as
numbers) are learnt beside them with the same total weight, which keeps ordinary texts in place.
Solved by Newton's method (Bishop, *Pattern Recognition and Machine Learning*, 4.3.3).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.heads.local import Correction

Array = NDArray[np.float64]

COST = (0.05, 0.5, 0.01)
"""Of moving the bias, the shipped logit's share and each of the embedding's weights."""
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Anchors:
    """Texts the shipped heads learnt from: embeddings, logits, and labels (1, 0, -1 silent)."""

    vectors: Array
    logits: Array
    labels: NDArray[Any]


@cache
def anchors() -> Anchors:
    """Those that ship with the heads, made by the same run of the training script."""
    data = (files("moderation.heads") / "weights" / "anchors.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return Anchors(
            stored["vectors"].astype(np.float64),
            stored["logits"].astype(np.float64),
            stored["labels"].astype(np.int64),
        )


QUIET = 0.005
"""Share of harmless anchors that may lie above the new head's hold line."""


def fit(vectors: Array, shipped: Array, truth: Array, place: int, hold: float = 0.0) -> Correction:
    """The correction for the code at ``place`` among the heads, from a workspace's labels.

    ``vectors`` (n, 384), ``shipped`` logits (n) and ``truth`` 0 or 1 (n). ``hold`` is the shipped
    head's hold line: the new head is moved so that its own best line falls there, the one with the
    fewest mistakes on these labels that keeps harmless anchors below it (:data:`QUIET`). Raises
    ``ValueError`` on numbers that are not finite.
    """
    known = anchors()
    rows = known.labels[:, place] >= 0
    x = np.concatenate([vectors, known.vectors[rows]])
    s = np.concatenate([shipped, known.logits[rows, place]])
    y = np.concatenate([truth, known.labels[rows, place].astype(np.float64)])
    many = len(truth)
    weight = np.concatenate([np.ones(many), np.full(int(rows.sum()), many / max(1, rows.sum()))])
    inputs = np.column_stack([np.ones(len(y)), np.clip(s, -20, 20), x])
    if not (np.isfinite(inputs).all() and np.isfinite(y).all()):
        raise ValueError("labels hold numbers that are none")
    prior = np.zeros(inputs.shape[1])
    prior[1] = 1.0
    cost = np.full(inputs.shape[1], COST[2])
    cost[:2] = COST[:2]
    theta = prior.copy()
    for _ in range(_STEPS):
        z = np.clip(inputs @ theta, -30, 30)
        chance = 1 / (1 + np.exp(-z))
        slope = inputs.T @ (weight * (chance - y)) + cost * (theta - prior)
        curve = (inputs * (weight * np.maximum(chance * (1 - chance), 1e-6))[:, None]).T @ inputs
        step = np.linalg.solve(curve + np.diag(cost), slope)
        # Damped: far from the solution a whole step may overshoot.
        theta = theta - step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-6:
            break
    logits = inputs @ theta
    quiet = np.sort(logits[many:][y[many:] == 0])[::-1]
    floor = float(quiet[int(QUIET * len(quiet))]) if len(quiet) else -np.inf
    line = _line(logits[:many], truth, floor)
    return Correction(float(theta[0]) + hold - line, float(theta[1]), theta[2:].astype(np.float32))


def _line(logits: Array, truth: Array, floor: float) -> float:
    """The line from ``floor`` on with the fewest mistakes, in the middle of its gap."""
    ordered = np.sort(np.unique(logits[logits > floor]))
    if len(ordered) == 0:
        return floor
    edges = np.concatenate([[floor], ordered, [ordered[-1] + 1.0]])
    lines = (edges[:-1] + edges[1:]) / 2
    wrong = [int(((logits >= line) != (truth > 0)).sum()) for line in lines]
    # Of equal ones the widest gap: it is the surest.
    best = min(range(len(lines)), key=lambda i: (wrong[i], edges[i] - edges[i + 1]))
    return float(lines[best])
