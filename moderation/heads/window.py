"""The part of a text that is embedded: at most 22 tokens, so that one text takes under 30 ms.

The embedding model costs 1.1 to 1.6 ms a token on one core. Windows are cut by an estimate of
their length from the letters (a Latin letter a quarter, a Chinese one three quarters of a token),
which needs no tokenizer and errs by some ten per cent in the middle and by half at the end; the
one that is chosen is then fitted by counting, which costs 0.02 ms.
"""

from __future__ import annotations

from collections.abc import Callable

BUDGET = 17.0
"""Estimated tokens in one window when judging."""

TRAINED = 28.0
"""The same when the heads were trained. Shorter ones (14) were tried: they lose a fifth of what
the heads find."""

TOKENS = 22
"""Most tokens that are embedded, the model's own five (``query:``, beginning, end) included."""

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


def fitted(piece: str, count: Callable[[str], int], most: int = TOKENS) -> str:
    """The beginning of a window that has at most ``most`` tokens; at least its first word.

    ``count`` says how many tokens a text has. A single word that is longer loses its end.
    """
    words = piece.split()
    while len(words) > 1 and count(" ".join(words)) > most:
        words.pop()
    text = " ".join(words)
    while len(text) > 1 and count(text) > most:
        text = text[: max(1, len(text) * 4 // 5)]
    return text
