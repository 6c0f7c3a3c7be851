"""Answers about pictures by a vision model of this machine, one at a time like any solo model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor

from storage.registry import ModelCard
from storage.schema import ChatSpec
from worker.engine.runners.base import NO_PICTURES, Pictures
from worker.engine.runners.solo import SoloRunner
from worker.engine.runners.speaker import ChatWork
from worker.engine.runners.text import Detokenizer, marks, plain
from worker.engine.stops import Stop

_LONGEST_SIDE = 1024
"""Pictures are read no larger than this, in pixels: tokens grow with the area."""
_KINDS = ("token_type_ids", "mm_token_type_ids")
"""What processors call the list that tells a picture's tokens (1) from words (0)."""


def load_vision(card: ModelCard, source: str, options: dict[str, Any], device: str) -> VisionRunner:
    """A model that reads pictures: safetensors only, no remote code.

    Raises what transformers raises for files that are missing or of another kind.
    """
    model: Any = AutoModelForImageTextToText.from_pretrained(
        source, use_safetensors=True, trust_remote_code=False, **options
    )
    options = {k: v for k, v in options.items() if k != "dtype"}
    processors: Any = AutoProcessor
    processor = processors.from_pretrained(source, trust_remote_code=False, **options)
    return VisionRunner(card, model.to(device).eval(), processor, device)


class VisionRunner(SoloRunner):
    """Steps answers of one model that reads pictures."""

    def __init__(self, card: ModelCard, model: Any, processor: Any, device: str) -> None:
        super().__init__(card, model, processor.tokenizer, device)
        self.processor = processor

    def begin(self, spec: ChatSpec, index: int, pictures: Pictures = NO_PICTURES) -> ChatWork:
        """The answer before its first token; pictures stand before the last question."""
        if not spec.images:
            return super().begin(spec, index)
        shown = []
        for source in spec.images:
            small = pictures[source.blob].convert("RGB")
            small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            shown.append(small)
        made = self._processed(spec, shown)
        ids: list[int] = made.pop("input_ids")[0].tolist()
        limit = min(spec.max_tokens, self.context // 2)
        return ChatWork(
            spec=spec,
            key=f"chat:{spec.model}",
            ids=ids,
            prompt=len(ids),
            limit=limit,
            # Read at once: a picture's tokens must not be cut in two.
            chunk=len(ids),
            cache=self._cache(),
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            detokenizer=Detokenizer(self.tokenizer),
            stop=Stop(spec.stop),
            pictures=made,
        )

    def _processed(self, spec: ChatSpec, shown: list[Any]) -> dict[str, Any]:
        """The conversation and its pictures as tensors, control marks taken out of the words."""
        known = [*marks(self.tokenizer), str(getattr(self.processor, "image_token", ""))]
        messages = [
            {"role": turn.role, "content": [{"type": "text", "text": plain(turn.text, known)}]}
            for turn in spec.turns
        ]
        messages[-1]["content"] = [*({"type": "image"} for _ in shown), *messages[-1]["content"]]
        text = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        made = self.processor(
            text=[text], images=shown, return_tensors="pt", add_special_tokens=False
        )
        return dict(made.to(self.device, dtype=self.model.dtype))

    def _read(self, work: ChatWork) -> Tensor:
        # Models with positions in three dimensions keep where they stand in the module: answers
        # that take turns would read each other's.
        inner = getattr(self.model, "model", self.model)
        keeps = hasattr(inner, "rope_deltas")
        if work.pictures is None or (work.read and not work.read_again):
            if keeps:
                inner.rope_deltas = work.deltas
            return super()._read(work)
        ids = work.ids[: work.read + work.weight]
        out = self.model(
            input_ids=torch.tensor([ids], device=self.device),
            past_key_values=work.cache,
            use_cache=True,
            logits_to_keep=1,
            **{name: _longer(name, t, len(ids)) for name, t in work.pictures.items()},
        )
        work.deltas = getattr(inner, "rope_deltas", None)
        scores: Tensor = out.logits[0, -1].float().cpu()
        return scores

    def drop(self, work: ChatWork) -> None:
        """Frees the keys, the values and the pictures of an answer that ended."""
        super().drop(work)
        work.pictures = None


def _longer(name: str, given: Tensor, length: int) -> Tensor:
    """What says something of each token of the prompt, for the words of the answer as well."""
    if given.ndim != 2 or given.shape[0] != 1 or name not in ("attention_mask", *_KINDS):
        return given
    return functional.pad(given, (0, length - given.shape[1]), value=int(name not in _KINDS))
