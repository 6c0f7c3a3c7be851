"""Turns to tokens that fit, and tokens back to text that never splits a character."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from storage.schema import Turn

BROKEN = "\ufffd"
"""What a tokenizer's decode shows for an unfinished UTF-8 character."""


def plain(text: str, marks: Collection[str]) -> str:
    """``text`` without the model's control marks, so that nobody can type a turn of the system.

    Repeated until none is left: removing one mark may join the halves of another.
    """
    found = True
    while found:
        found = False
        for mark in marks:
            if mark and mark in text:
                text, found = text.replace(mark, ""), True
    return text


def render(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The token ids of a conversation in the model's chat template, ready for the answer."""
    messages = [{"role": t.role, "content": plain(t.text, marks(tokenizer))} for t in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def marks(tokenizer: Any) -> list[str]:
    """Every string the tokenizer reads as one control token, longest first."""
    added = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return sorted(set(added) | set(tokenizer.all_special_tokens), key=len, reverse=True)


def fit(tokenizer: Any, turns: Sequence[Turn], room: int) -> list[int]:
    """Token ids of the newest turns that fit into ``room`` tokens; system turns always stay.

    The oldest turns go first, and an answer whose question went goes with it. A question that is
    too long by itself loses its beginning.
    """
    system = [t for t in turns if t.role == "system"]
    talk = [t for t in turns if t.role != "system"]
    ids = render(tokenizer, [*system, *talk])
    while len(ids) > room and len(talk) > 1:
        talk = talk[1:]
        while len(talk) > 1 and talk[0].role == "assistant":
            talk = talk[1:]
        ids = render(tokenizer, [*system, *talk])
    while len(ids) > room and talk and talk[0].text:
        # Cut by the share that is too much; each round removes at least one character.
        text = talk[0].text
        cut = max(1, len(text) * (len(ids) - room) // len(ids))
        talk = [Turn(role=talk[0].role, text=text[cut:])]
        ids = render(tokenizer, [*system, *talk])
    return ids[-room:]


class Detokenizer:
    """Text of a growing list of tokens, handed out in pieces that join to the whole.

    Decodes a short window instead of everything, keeping the last finished piece in it because
    some tokenizers write a token differently after another (the leading space).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._start = 0
        self._read = 0

    def _decode(self, start: int, end: int | None) -> str:
        return str(
            self._tokenizer.decode(
                self._tokens[start:end],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        )

    def push(self, token: int) -> str:
        """The text that ``token`` completes; empty while a character is unfinished."""
        self._tokens.append(token)
        return self._take(final=False)

    def close(self) -> str:
        """What is left at the end, an unfinished character dropped."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> str:
        before = self._decode(self._start, self._read)
        after = self._decode(self._start, None)
        if final:
            after = after.rstrip(BROKEN)
        elif after.endswith(BROKEN):
            return ""
        if len(after) <= len(before):
            return ""
        self._start, self._read = self._read, len(self._tokens)
        return after[len(before) :]
