"""One workspace's own heads: a correction of the shipped ones, as numbers. numpy only.

For each code that had enough labels, ``logit = a + b * shipped + w . embedding``, where *shipped*
is the shipped head's logit. They may go either way, except for what no workspace may loosen:
there a head of its own can only raise a score.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moderation.policy import LOCKED
from storage.schema import Category

if TYPE_CHECKING:
    from moderation.heads.model import Reading

ONLY_RAISED = LOCKED | {Category.SEX, Category.SELF, Category.REAL}
"""Codes in which a workspace's decisions make the filters stricter, never milder."""


@dataclass(frozen=True)
class Correction:
    """One code's numbers."""

    bias: float
    shipped: float
    weights: Any

    def logit(self, code: Category, shipped: float, vector: Any) -> float:
        """The corrected logit of a text."""
        own = self.bias + self.shipped * shipped + float(self.weights @ vector)
        if not math.isfinite(own):
            raise ValueError("a learnt head answered with a number that is none")
        return max(own, shipped) if code in ONLY_RAISED else own


@dataclass(frozen=True)
class LocalHeads:
    """A workspace's corrections and their version (the first digits of their hash)."""

    codes: Mapping[Category, Correction]
    version: str = ""

    def logits(self, reading: Reading) -> dict[Category, float]:
        """The shipped logits of a text, corrected; raises ``ValueError`` on junk."""
        found = dict(reading.logits)
        for code, correction in self.codes.items():
            if code in found:
                found[code] = correction.logit(code, found[code], reading.vector)
        return found

    def dump(self) -> bytes:
        """As bytes for the database; without pickle."""
        import numpy as np

        out = io.BytesIO()
        codes = sorted(self.codes)
        np.savez_compressed(
            out,
            codes=np.array([str(code) for code in codes]),
            lines=np.array([[self.codes[c].bias, self.codes[c].shipped] for c in codes]),
            weights=np.stack([self.codes[c].weights for c in codes]).astype(np.float32),
        )
        return out.getvalue()

    @classmethod
    def load(cls, data: bytes) -> LocalHeads:
        """Back from bytes. Raises ``ValueError`` on anything else."""
        import numpy as np

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                codes = [Category(str(code)) for code in stored["codes"]]
                lines, weights = stored["lines"], stored["weights"]
        except Exception as error:  # numpy and zip raise whatever they like on broken bytes
            raise ValueError("these are no weights") from error
        if weights.ndim != 2 or lines.shape != (len(codes), 2) or len(weights) != len(codes):
            raise ValueError("the weights do not fit together")
        if not (np.isfinite(lines).all() and np.isfinite(weights).all()):
            raise ValueError("the weights hold numbers that are none")
        found = {
            code: Correction(float(line[0]), float(line[1]), row)
            for code, line, row in zip(codes, lines, weights, strict=True)
        }
        return cls(found, digest(data))


def digest(data: bytes) -> str:
    """The version of stored weights."""
    return hashlib.sha256(data).hexdigest()[:12]
