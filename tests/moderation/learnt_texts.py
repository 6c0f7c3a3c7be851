"""Texts that moderators might decide on, made of words that rarely meet: no two nearly repeat."""

from __future__ import annotations

from moderation.learning.split import Label

THINGS = (
    "level eighty warrior", "verified streaming login", "old gaming profile", "rare username",
    "aged marketing page", "premium music seat", "family cinema slot", "cloud storage plan",
    "student discount card", "loyalty points stash", "airline miles pot", "concert ticket queue",
    "beta tester key", "mod chat badge", "partner dashboard", "ad free pass", "guild leader rank",
    "skin collection", "trophy archive", "fully unlocked phone", "forum elder title",
    "silver tier seat", "wholesale voucher book", "hotel status match", "cashback wallet",
    "dating gold profile", "auction seller rating", "crypto faucet login", "vpn lifetime code",
    "antivirus licence", "office suite seat", "photo editor licence", "maths tutor login",
    "recipe site vault", "weather app pro", "taxi coupon pack", "gym guest pass", "museum card",
    "library remote key", "parking permit",
)  # fmt: skip
DEALS = (
    "dm me your offer", "cheap tonight", "no questions asked", "payment first", "swap for crypto",
    "only trusted buyers", "price drops hourly", "ask in private", "bundle available",
    "warranty included", "fast handover", "escrow fine", "gift cards accepted", "two for one",
)  # fmt: skip
QUESTIONS = (
    "how do I recover", "who designed", "what does it cost to run", "please explain",
    "draw a poster of",
    "why did they change", "is it safe to delete", "write a poem about", "compare two kinds of",
    "when was the first", "how can my grandmother use", "give me a checklist for",
)  # fmt: skip
MEMBERS = tuple(f"member-{number}" for number in range(30))


def trades(code: str, *, violates: bool = True) -> list[Label]:
    """Offers to trade accounts, by many members; the shipped heads see nothing in them."""
    return [
        Label(f"t{i}", MEMBERS[i % 30], f"selling my {thing}, {DEALS[i % 14]}",
              ((code, int(violates)),))
        for i, thing in enumerate(THINGS)
    ]  # fmt: skip


def questions(code: str, *, violates: bool = False) -> list[Label]:
    """Ordinary questions about the same things, by as many others."""
    return [
        Label(f"q{i}", f"other-{i % 30}", f"{QUESTIONS[i % 12]} a {thing}?",
              ((code, int(violates)),))
        for i, thing in enumerate(THINGS)
    ]  # fmt: skip
