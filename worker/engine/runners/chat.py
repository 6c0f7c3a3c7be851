"""Answers by tokens: our own loop, one key-value cache and one seeded generator a request.

Why not transformers' continuous batching yet: it has one seed for everybody (and reseeds torch
globally when made), so "same seed, same answer" cannot be kept; it wants to own the thread that
the pictures step on; a cancelled request gets no end (PERFORMANCE.md 1.2). Here every request is
forwarded alone: an answer never depends on its neighbours, bit for bit, it can be stopped after
any token, and a token is a step like any other for the scheduler. The price is throughput with
many simultaneous answers (about a third at eight, on a CPU); a batched runner is a later issue
and fits behind the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import DynamicCache

from storage.registry import ModelCard
from storage.schema import ChatSpec, JobKind, Turn
from worker.engine.outputs import Answer, Output, Text
from worker.engine.runners.base import Stepped, weigh
from worker.engine.runners.text import Detokenizer, fit

PREFILL = 256
"""Prompt tokens read in one step, so that a long conversation does not stall the pictures."""

REPETITION_PENALTY = 1.1
"""Divides the positive and multiplies the negative scores of tokens seen before (CTRL, Keskar et
al. 2019, arXiv 1909.05858); small models loop without it."""

TOP_P = 0.9
"""Sampling draws from the smallest set of tokens that holds this much probability."""


@dataclass
class ChatWork:
    """One answer in the making. ``ids`` is prompt and answer so far, ``read`` what is cached."""

    spec: ChatSpec
    key: str
    ids: list[int]
    prompt: int
    limit: int
    cache: Any
    generator: torch.Generator
    detokenizer: Detokenizer
    text: str = ""
    read: int = 0

    @property
    def weight(self) -> int:
        """Tokens of its next pass."""
        return min(PREFILL, len(self.ids) - self.read)

    @property
    def made(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - self.prompt


def penalise(scores: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """``[vocabulary]`` scores with every token of ``ids`` made less likely."""
    seen = torch.tensor(sorted(set(ids)))
    old = scores[seen]
    scores = scores.clone()
    scores[seen] = torch.where(old < 0, old * penalty, old / penalty)
    return scores


def choose(scores: Tensor, temperature: float, generator: torch.Generator) -> int:
    """The next token from ``[vocabulary]`` fp32 scores on the CPU.

    Temperature 0 is greedy. Otherwise nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)
    with :data:`TOP_P`, from ``generator`` alone: exactly one draw a token.
    """
    if temperature == 0:
        return int(scores.argmax())
    chances, order = torch.softmax(scores / temperature, dim=-1).sort(descending=True, stable=True)
    before = chances.cumsum(dim=-1) - chances
    chances = torch.where(before < TOP_P, chances, torch.zeros_like(chances))
    return int(order[torch.multinomial(chances, 1, generator=generator)])


class ChatRunner:
    """Steps answers of one causal language model; see :class:`worker.engine.runners.base`."""

    kind = JobKind.CHAT
    shares = False

    def __init__(self, card: ModelCard, model: Any, tokenizer: Any, device: str) -> None:
        self.card = card
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = {int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None}
        limit = getattr(model.config, "max_position_embeddings", None) or card.context_tokens
        self.context = min(card.context_tokens, int(limit))
        self.size = weigh(model)

    def begin(self, spec: ChatSpec, index: int) -> ChatWork:
        """The answer before its first token; ``index`` is always 0.

        The prompt gets what ``max_tokens`` leaves of the context, but at least half of it.
        """
        limit = min(spec.max_tokens, self.context // 2)
        ids = fit(self.tokenizer, spec.turns, self.context - limit)
        return ChatWork(
            spec=spec,
            key=f"chat:{spec.model}",
            ids=ids,
            prompt=len(ids),
            limit=limit,
            cache=DynamicCache(config=self.model.config),
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            detokenizer=Detokenizer(self.tokenizer),
        )

    def forward(self, works: Sequence[ChatWork]) -> list[Tensor]:
        """For each work the scores ``[vocabulary]`` after the tokens read in this step."""
        return [self._read(work) for work in works]

    def _read(self, work: ChatWork) -> Tensor:
        piece = work.ids[work.read : work.read + work.weight]
        out = self.model(
            input_ids=torch.tensor([piece], device=self.device),
            past_key_values=work.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        scores: Tensor = out.logits[0, -1].float().cpu()
        return scores

    def advance(self, work: ChatWork, result: Tensor) -> Stepped:
        """The next token of one work, or nothing yet while its prompt is still being read."""
        work.read += work.weight
        if work.read < work.prompt:
            return Stepped()
        scores = penalise(result, work.ids, REPETITION_PENALTY)
        token = choose(scores, work.spec.temperature, work.generator)
        work.ids.append(token)
        ended = token in self.ends
        piece = "" if ended else work.detokenizer.push(token)
        outputs: list[Output] = []
        done = ended or work.made >= work.limit
        if done:
            piece += work.detokenizer.close()
        work.text += piece
        if piece:
            outputs.append(Text(piece))
        if done:
            outputs.append(self._answer(work, ended))
        return Stepped(outputs, done)

    def _answer(self, work: ChatWork, ended: bool) -> Answer:
        spec = work.spec
        recipe = {
            "kind": str(spec.kind),
            "model": spec.model,
            "revision": self.card.revision,
            "turns": [turn.model_dump() for turn in spec.turns],
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "top_p": TOP_P,
            "repetition_penalty": REPETITION_PENALTY,
            "seed": spec.seed,
            "finish": "end" if ended else "length",
            "grade": "exact" if self.device == "cpu" else "replay",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": torch.cuda.get_device_name() if self.device == "cuda" else self.device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        return Answer(work.text, work.prompt, work.made, recipe)

    def drop(self, work: Any) -> None:
        """Nothing to free: a work is plain tensors."""

    def warm(self) -> None:
        """One prompt read and one token made."""
        turn = Turn(role="user", text="Hello")
        spec = ChatSpec(
            model=self.card.name, thread="", turns=(turn,), max_tokens=1, temperature=0, seed=0
        )
        work = self.begin(spec, 0)
        self.advance(work, self.forward([work])[0])
