"""One set of weights for two jobs: a picture model's text encoder that also answers `/ask`.

FLUX.2-klein and Z-Image read prompts with a whole language model. A second module over the same
tensors lets the chat runner replace its attention and keep its own settings: with the *same*
module, or a shared configuration object, embeddings came out wrong without any error
(PERFORMANCE.md 5.3).
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from storage.registry import ModelCard
from worker.engine.errors import ModelUnavailable
from worker.engine.quantise import share_packed, shrink

_ENCODERS: WeakValueDictionary[str, nn.Module] = WeakValueDictionary()
"""Language models in memory by the picture model they belong to, whoever loaded them. An entry
goes with the last runner that holds its module."""


def twin(module: Any, kind: Any = None) -> Any:
    """A second module over the same parameters and buffers, with its own deep copy of the
    configuration.

    ``kind`` is another class for it: the causal language model of a bare decoder, whose head is
    then its tied embedding. Raises ``ValueError`` when the head's weights are not there.
    """
    config = copy.deepcopy(module.config)
    config._attn_implementation = "sdpa"
    kind = kind or type(module)
    with torch.device("meta"):
        second = kind(config)
    state = module.state_dict(keep_vars=True)
    prefix = "" if isinstance(module, kind) else f"{second.base_model_prefix}."
    share_packed(module, second, prefix)
    state = {prefix + name: tensor for name, tensor in state.items()}
    second.load_state_dict(state, assign=True, strict=False)
    second.tie_weights()
    # Buffers that are no part of the weights (rotary frequencies) are in no state dict.
    own = dict(module.named_buffers())
    for name, buffer in list(second.named_buffers()):
        if buffer.is_meta:
            place, _, last = name.rpartition(".")
            second.get_submodule(place)._buffers[last] = own[name.removeprefix(prefix)]
    missing = [n for n, t in (*second.named_parameters(), *second.named_buffers()) if t.is_meta]
    if missing:
        raise ValueError(f"the text encoder has no {missing[0]}")
    for parameter in second.parameters():
        parameter.requires_grad_(False)
    return second.eval()


def keep(picture_model: str, encoder: Any) -> None:
    """Remembers that this module holds the language model of a picture model.

    Anything that is not a language model (CLIP, BERT) is no use to anybody and not kept.
    """
    config = getattr(encoder, "config", None)
    if config is not None and type(config) in AutoModelForCausalLM._model_mapping:
        _ENCODERS[picture_model] = encoder


def encoder_for(picture_model: str) -> Any:
    """A twin of the language model already in memory for this picture model, or None."""
    found = _ENCODERS.get(picture_model)
    return None if found is None else twin(found)


def language_model(card: ModelCard, source: str, options: dict[str, Any], dtype: Any) -> Any:
    """The causal language model of a chat card that shares the encoder of ``card.shares``.

    A twin of the encoder in memory; else read from the picture model's ``text_encoder`` folder,
    and kept for the picture model to share in its turn. Raises ``ModelUnavailable``.
    """
    found = _ENCODERS.get(card.shares)
    try:
        if found is not None:
            kind = AutoModelForCausalLM._model_mapping[type(found.config)]  # type: ignore[index]
            return twin(found, kind)
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, subfolder="text_encoder", dtype=dtype, use_safetensors=True,
            trust_remote_code=False, **options,
        )  # fmt: skip
        shrink(model, card.precision)
    except (KeyError, ValueError) as error:
        raise ModelUnavailable(
            f"{card.shares!r} has no text encoder that can answer ({error})",
            "choose another ATELIER_CHAT_MODEL",
        ) from error
    keep(card.shares, model)
    return model
