"""Prompts with weights, and prompts longer than the model reads at once, by ``compel``.

A prompt without either is encoded by the family itself, so nothing changes for it, not by a bit.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from compel.embeddings_provider import (
    BaseTextualInversionManager,
    EmbeddingsProvider,
    ReturnedEmbeddingsType,
    SplitLongTextMode,
)
from torch import Tensor

from storage import prompts
from storage.schema import ImageSpec
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.sdxl import StableDiffusionXL
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.work import Condition, Hook

CHUNKS_MAX = 4
"""Most chunks of a long prompt; what lies beyond is not read."""
_KEPT = 64


class Vectors(BaseTextualInversionManager):  # type: ignore[misc]
    """A token of several vectors (textual inversion) written out as its parts."""

    def __init__(self, pipe: Any, tokenizer: Any) -> None:
        self._pipe = pipe
        self._tokenizer = tokenizer

    def expand_textual_inversion_token_ids_if_necessary(self, token_ids: list[int]) -> list[int]:
        """The ids with every such token's further vectors behind it."""
        out: list[int] = []
        known = self._tokenizer.added_tokens_encoder
        for token in token_ids:
            out.append(token)
            name = self._tokenizer.convert_ids_to_tokens(token)
            part = 1
            while name in known and f"{name}_{part}" in known:
                out.append(known[f"{name}_{part}"])
                part += 1
        return out


class Provider(EmbeddingsProvider):  # type: ignore[misc]
    """compel's own, told of encoders that must not read their padding (BERT has no begin token)."""

    def _encode_token_ids_to_embeddings(
        self, token_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        if getattr(self.text_encoder.config, "use_attention_mask", False):
            real = (token_ids != self.tokenizer.pad_token_id).long()
            attention_mask = real if attention_mask is None else real * attention_mask
        elif attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # as the pipeline calls it, so that weight 1 means the same bits
        encoded: Tensor = super()._encode_token_ids_to_embeddings(token_ids, attention_mask)
        return encoded


def providers(family: UNetFamily) -> list[Provider]:
    """One for each text encoder of a pipeline."""
    pipe = family.pipe
    xl = isinstance(family, StableDiffusionXL)
    kind = ReturnedEmbeddingsType
    wanted = (
        kind.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED if xl else kind.LAST_HIDDEN_STATES_NORMALIZED
    )
    made = []
    for tokenizer, encoder in pairs(pipe):
        tokenizer = copy.copy(tokenizer)
        if tokenizer.bos_token_id is None and tokenizer.cls_token_id is not None:
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
        made.append(
            Provider(
                tokenizer=tokenizer,
                text_encoder=encoder,
                textual_inversion_manager=Vectors(pipe, tokenizer),
                truncate=False,
                returned_embeddings_type=wanted,
                split_long_text_mode=SplitLongTextMode.PHRASES,
                device=family.device,
            )
        )
    return made


def pairs(pipe: Any) -> list[tuple[Any, Any]]:
    """A pipeline's tokenizers with their text encoders; SDXL's refiner lacks the first."""
    named = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    found = [(getattr(pipe, a, None), getattr(pipe, b, None)) for a, b in named]
    return [(tokenizer, encoder) for tokenizer, encoder in found if encoder is not None]


class Reader:
    """Encodes what is written for one loaded model; remembers a few dozen texts."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._providers: list[Provider] | None = None
        self._kept: OrderedDict[tuple[str, str], Condition] = OrderedDict()

    def needed(self, text: str) -> bool:
        """Whether a text holds anything the family's own encoder does not understand."""
        parsed = prompts.parse(text)
        return parsed.weighted or parsed.text != text or self._long(parsed.text)

    def _long(self, text: str) -> bool:
        """Whether a tokenizer would cut the text off."""
        if not isinstance(self._family, UNetFamily):
            return False
        return any(
            len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
            > tokenizer.model_max_length
            for tokenizer, _ in pairs(self._family.pipe)
        )

    def encode(self, text: str, network: str = "") -> Condition:
        """The condition of a text; ``network`` names what else changes the encoder (LoRAs)."""
        key = (network, text)
        found = self._kept.pop(key, None)
        if found is None:
            found = self._encode(text)
        self._kept[key] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def _encode(self, text: str) -> Condition:
        family, parsed = self._family, prompts.parse(text)
        condition = family.encode(parsed.text)
        if not isinstance(family, UNetFamily):
            return condition  # Qwen3 reads long prompts by itself, and knows no weights
        if not parsed.weighted and not self._long(parsed.text):
            return condition
        if self._providers is None:
            self._providers = providers(family)
        texts = [part.text for part in parsed.parts]
        weights = [part.weight for part in parsed.parts]
        encoded = [
            provider.get_embeddings_for_weighted_prompt_fragments(
                [texts], [weights], device=family.device
            )
            for provider in self._providers
        ]
        own = condition["texts"]
        states = torch.cat(encoded, dim=-1)[:, : own.shape[1] * CHUNKS_MAX]
        return {**condition, "texts": states.to(own)}

    def even(self, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        """The conditions with equally many tokens: shorter ones are followed by empty prompts."""
        longest = max(c["texts"].shape[1] for c in conditions)
        if all(c["texts"].shape[1] == longest for c in conditions):
            return conditions
        empty = self._family.encode("")["texts"]
        padded = []
        for condition in conditions:
            states = condition["texts"]
            missing = (longest - states.shape[1]) // empty.shape[1]
            padded.append({**condition, "texts": torch.cat([states, *[empty] * missing], dim=1)})
        return tuple(padded)


class WordsHook(Hook):
    """Answers for prompts that need reading, and for every prompt under a LoRA.

    ``network`` names the LoRAs in force, which may have changed the text encoder.
    """

    def __init__(self, reader: Reader, network: str = "") -> None:
        self._reader = reader
        self._network = network

    def condition(
        self, family: Family, spec: ImageSpec, prompt: str, negative: str
    ) -> tuple[Condition, ...] | None:
        """The rows' conditions, or None for what the family reads just as well."""
        reader = self._reader
        if not self._network and not reader.needed(prompt) and not reader.needed(negative):
            return None

        def encode(text: str) -> Condition:
            return reader.encode(text, self._network)

        rows = family.conditions(spec, prompt, negative, encode)
        return reader.even(rows) if isinstance(family, UNetFamily) else rows
