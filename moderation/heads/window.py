"""The part of a text that is embedded: at most some 17 tokens, so that one text takes < 30 ms.

The embedding model costs about 1.2 ms a token on one core. Length in tokens is estimated from
the letters (a Latin letter a quarter, a Chinese one three quarters of a token), which needs no
tokenizer and errs by some ten per cent.
"""

from __future__ import annotations

BUDGET = 17.0
"""Estimated tokens in one window when judging: some 22 ms on one idle core."""

TRAINED = 28.0
"""The same when the heads were trained."""

_PIECE = 30


def cost(text: str) -> float:
    """Estimated tokens of a text."""
    return sum(0.25 if char < "\u0250" else 0.35 if char < "\u1100" else 0.75 for char in text)


def windows(text: str, budget: float = BUDGET) -> list[str]:
    """The text cut between words into consecutive pieces of at most ``budget`` tokens."""
    pieces: list[str] = []
    current: list[str] = []
    used = 0.0
    for word in text.split():
        parts = [word]
        if cost(word) >= budget:
            parts = [word[i : i + _PIECE] for i in range(0, len(word), _PIECE)]
        for part in parts:
            price = cost(part) + 0.25
            if current and used + price > budget:
                pieces.append(" ".join(current))
                current, used = [], 0.0
            current.append(part)
            used += price
    if current:
        pieces.append(" ".join(current))
    return pieces
