"""Stage ``text.guard``: a guard model that says safe, controversial or unsafe, and why.

Made for Qwen3Guard-Gen (Apache-2.0, 119 languages; the 0.6B model fits beside a picture model on
most GPUs). Chosen by one line of configuration, ``ATELIER_GUARD_MODEL``, a folder or a name that
is on this machine. Safe makes no flag, controversial a score that is held, unsafe one that blocks.
Others work by the same line when their folder has a chat template and they answer in one of two
ways: ``Safety: ...`` with ``Categories: ...`` (Qwen3Guard), or ``safe``, ``unsafe`` and a line of
hazard numbers (Llama Guard 3 and 4, and what follows MLCommons).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moderation.policy import DEFAULTS, Surface
from storage.schema import Category, Flag

if TYPE_CHECKING:
    from moderation.pipeline import Content

Ask = Callable[[str, str | None], str]
"""A text, and the question it answers (None: it is a prompt itself), to what the guard model
writes about it."""

CODES: Mapping[str, Category] = {
    "violent": Category.VIO, "non-violent illegal acts": Category.ILL,
    "sexual content or sexual acts": Category.SEX, "sexual content": Category.SEX,
    "pii": Category.PII, "personally identifiable information": Category.PII,
    "suicide & self-harm": Category.SELF, "suicide and self-harm": Category.SELF,
    "unethical acts": Category.HAR, "politically sensitive topics": Category.HAR,
    "copyright violation": Category.IP, "jailbreak": Category.INJ,
}  # fmt: skip
"""The model's categories as our codes."""

HAZARDS: Mapping[str, Category | None] = {
    "S1": Category.VIO, "S2": Category.ILL, "S3": Category.SEXC, "S4": Category.CSAE,
    "S5": Category.REAL, "S6": None, "S7": Category.PII, "S8": Category.IP, "S9": Category.WEAP,
    "S10": Category.HATE, "S11": Category.SELF, "S12": Category.SEX, "S13": None,
    "S14": Category.ILL,
}  # fmt: skip
"""MLCommons' hazards as Llama Guard numbers them; advice and elections are out of scope."""

MOST_TOKENS = 4096
"""What the guard reads, its instructions included; a longer text is held."""

_PLAIN = re.compile(r"\s*(safe|unsafe)\b([^\w]*(?:S\d{1,2}[\s,]*)*)\s*$", re.IGNORECASE)
_LEVEL = re.compile(r"safety\s*:\s*(safe|controversial|unsafe)\b", re.IGNORECASE)
_NAMED = re.compile(r"categor(?:y|ies)\s*:\s*([^\n]{0,300})", re.IGNORECASE)
_POLITICS = "politically sensitive topics"


class GuardStage:
    """Asks a guard model; ``load`` gives the function that does (see :func:`qwen3guard`)."""

    name = "text.guard"
    surfaces = frozenset({Surface.PROMPT, Surface.ANSWER, Surface.NAME})

    def __init__(self, make: Callable[[], Ask], version: str = "") -> None:
        self._make = make
        self._lock = threading.Lock()
        self._ask: Ask | None = None
        self.version = version

    def load(self) -> None:
        """Read the model."""
        self._loaded()

    def _loaded(self) -> Ask:
        with self._lock:
            if self._ask is None:
                self._ask = self._make()
            return self._ask

    def check(self, content: Content) -> Sequence[Flag]:
        """Flags for what the model named. Raises ``ValueError`` when its answer says nothing,
        which holds: a guard that mumbles has not said "safe"."""
        asked = None
        if content.surface is Surface.ANSWER:
            asked = content.context[0] if content.context else ""
        answer = self._loaded()(content.text or "", asked)
        return list(flags_of(answer))


def flags_of(answer: str) -> list[Flag]:
    """What an answer of the guard means. Raises ``ValueError`` on anything else."""
    level = _LEVEL.search(answer)
    plain = _PLAIN.match(answer) if level is None else None
    if plain is not None:
        return _numbered(plain[1], plain[2])
    if level is None:
        raise ValueError("the guard gave no verdict")
    word = level[1].casefold()
    if word == "safe":
        return []
    named = _NAMED.search(answer)
    names = [name.strip().casefold() for name in named[1].split(",")] if named else []
    names = [name for name in names if name and name not in ("none", _POLITICS)]
    if names == [] and named is not None and _POLITICS in named[1].casefold():
        return []  # elections and politics are out of scope (MODERATION.md 3.2)
    codes = {CODES.get(name, Category.HAR) for name in names} or {Category.HAR}
    return [
        Flag(category=code, score=_score(code, unsafe=word == "unsafe"), stage="text.guard",
             detail=f"guard: {word}")
        for code in sorted(codes)
    ]  # fmt: skip


def _numbered(word: str, hazards: str) -> list[Flag]:
    """Llama Guard's way: *unsafe* without a number we know is held as an insult would be."""
    if word.casefold() == "safe":
        return []
    numbers = [number.upper() for number in re.findall(r"[Ss]\d{1,2}", hazards)]
    if numbers and all(number in HAZARDS and HAZARDS[number] is None for number in numbers):
        return []
    codes = {HAZARDS.get(number) or Category.HAR for number in numbers} or {Category.HAR}
    return [
        # What may defame is for a person to say; only what is sexual beside a name blocks.
        Flag(category=code, score=_score(code, unsafe=code is not Category.REAL),
             stage="text.guard", detail="guard: unsafe")
        for code in sorted(codes)
    ]  # fmt: skip


def _score(code: Category, *, unsafe: bool) -> float:
    """The score that holds (controversial) or blocks (unsafe) under the default policy."""
    lines = DEFAULTS[code]
    hold = lines.hold if lines.hold is not None else 0.5
    block = lines.block if lines.block is not None else max(hold, 0.9)
    if code is Category.SELF:
        return 0.5  # the help card, whatever the level
    return max(block, hold) if unsafe else hold


def qwen3guard(source: str, device: str = "cpu", max_tokens: int = 128) -> Callable[[], Ask]:
    """A function that loads Qwen3Guard-Gen and gives its way of being asked.

    ``source`` is a folder or the name of a model that is on this machine. Greedy, so the same
    text always gets the same answer. safetensors only; no code from the model's folder is run.
    """

    def make() -> Ask:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokens = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, trust_remote_code=False, use_safetensors=True,
            dtype=torch.float32 if device == "cpu" else torch.bfloat16,
        )  # fmt: skip
        model.to(device).eval()
        lock = threading.Lock()

        marks = sorted(
            {str(t) for t in tokens.added_tokens_decoder.values() if t.special}
            | set(tokens.all_special_tokens), key=len, reverse=True,
        )  # fmt: skip

        def bare(text: str) -> str:
            """Without control marks, again and again: who types one must not end their turn and
            speak as the guard."""
            while any(mark in text for mark in marks):
                for mark in marks:
                    text = text.replace(mark, " ")
            return text

        def ask(text: str, question: str | None) -> str:
            turns = [{"role": "user" if question is None else "assistant", "content": bare(text)}]
            if question is not None:
                turns.insert(0, {"role": "user", "content": bare(question)})
            # Without a generation prompt: such templates end in the guard's own turn.
            prompt = tokens.apply_chat_template(turns, tokenize=False)
            batch = tokens(prompt, return_tensors="pt")
            if batch["input_ids"].shape[1] > MOST_TOKENS:
                # Cut, it would end in the member's words, and the guard would go on in their voice.
                raise ValueError("too long for the guard to judge")
            batch = {k: v.to(device) for k, v in batch.items() if k != "token_type_ids"}
            with lock, torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False)
            start = batch["input_ids"].shape[1]
            return str(tokens.decode(out[0][start:], skip_special_tokens=True))

        return ask

    return make
