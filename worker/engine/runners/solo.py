"""Answers of models whose attention cannot be shared (linear attention, soft caps, sinks).

Each answer is forwarded alone with transformers' own cache, one token or one piece of its prompt
a step, like ``generate`` taken apart: it streams, stops after any token, keeps its own seed and
takes turns with the pictures. ``generate`` with a streamer would do none of the last three.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from storage.schema import ChatSpec
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped
from worker.engine.runners.speaker import ChatWork, Speaker, next_token, refuse_pictures
from worker.engine.runners.text import Detokenizer, fit
from worker.engine.stops import Stop

PREFILL = 256
"""Prompt tokens read in one step, so that a long conversation does not stall the pictures."""


class SoloRunner(Speaker):
    """Steps answers of one causal language model, each by itself."""

    shares = False

    def begin(self, spec: ChatSpec, index: int, pictures: Pictures = NO_PICTURES) -> ChatWork:
        """The answer before its first token; ``index`` is always 0.

        Raises ``BadInput('vision_none')`` for a question about pictures.
        """
        refuse_pictures(spec)
        limit = min(spec.max_tokens, self.context // 2)
        ids = fit(self.tokenizer, spec.turns, self.context - limit)
        return ChatWork(
            spec=spec,
            key=f"chat:{spec.model}",
            ids=ids,
            prompt=len(ids),
            limit=limit,
            chunk=PREFILL,
            cache=self._cache(),
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            detokenizer=Detokenizer(self.tokenizer),
            stop=Stop(spec.stop),
        )

    def _cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config.get_text_config())

    def forward(self, works: Sequence[ChatWork]) -> list[Tensor]:
        """For each work the scores ``[vocabulary]`` after the tokens read in this step."""
        return [self._whole(work) for work in works]

    def _whole(self, work: ChatWork) -> Tensor:
        """One step of one answer. A pass that was broken off (no memory) has filled some layers'
        caches and not others': everything is read again into a fresh one."""
        if work.torn:
            work.cache, work.read_again = self._cache(), True
        work.torn = True
        scores = self._read(work)
        work.torn = work.read_again = False
        return scores

    def _read(self, work: ChatWork) -> Tensor:
        since = 0 if work.read_again else work.read
        piece = work.ids[since : work.read + work.weight]
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
        if work.reading:
            return Stepped()
        return next_token(work, result, self.ends, self._answer)
