"""Stage ``text.guard``: a guard model that says safe, controversial or unsafe, and why.

Made for Qwen3Guard-Gen (Apache-2.0, 119 languages; the 0.6B model fits beside a picture model on
most GPUs). Chosen by one line of configuration, ``ATELIER_GUARD_MODEL``, a folder or a name that
is on this machine. Safe makes no flag, controversial a score that is held, unsafe one that blocks.
Any other model with the same ways of answering works too.
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

Ask = Callable[[str, bool], str]
"""A text and whether it is an answer, to what the guard model writes about it."""

CODES: Mapping[str, Category] = {
    "violent": Category.VIO, "non-violent illegal acts": Category.ILL,
    "sexual content or sexual acts": Category.SEX, "sexual content": Category.SEX,
    "pii": Category.PII, "personally identifiable information": Category.PII,
    "suicide & self-harm": Category.SELF, "suicide and self-harm": Category.SELF,
    "unethical acts": Category.HAR, "politically sensitive topics": Category.HAR,
    "copyright violation": Category.IP, "jailbreak": Category.INJ,
}  # fmt: skip
"""The model's categories as our codes."""

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
        answer = self._loaded()(content.text or "", content.surface is Surface.ANSWER)
        return list(flags_of(answer))


def flags_of(answer: str) -> list[Flag]:
    """What an answer of the guard means. Raises ``ValueError`` on anything else."""
    level = _LEVEL.search(answer)
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


def _score(code: Category, *, unsafe: bool) -> float:
    """The score that holds (controversial) or blocks (unsafe) under the default policy."""
    lines = DEFAULTS[code]
    hold = lines.hold if lines.hold is not None else 0.5
    block = lines.block if lines.block is not None else max(hold, 0.9)
    if code is Category.SELF:
        return 0.5  # the help card, whatever the level
    return max(block, hold) if unsafe else hold


def qwen3guard(source: str, device: str = "cpu", max_tokens: int = 64) -> Callable[[], Ask]:
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

        def ask(text: str, answer: bool) -> str:
            turns = [{"role": "assistant" if answer else "user", "content": text}]
            if answer:
                turns.insert(0, {"role": "user", "content": ""})
            prompt = tokens.apply_chat_template(turns, tokenize=False)
            batch = tokens(prompt, return_tensors="pt", truncation=True, max_length=4096)
            batch = {k: v.to(device) for k, v in batch.items() if k != "token_type_ids"}
            with lock, torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False)
            start = batch["input_ids"].shape[1]
            return str(tokens.decode(out[0][start:], skip_special_tokens=True))

        return ask

    return make
