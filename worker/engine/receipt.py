"""The receipt of a picture: the recipe to make it again, and the circumstances it was made in."""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import diffusers
import torch
import transformers

from storage.recipes import recipe_of
from storage.registry import ModelCard
from storage.schema import Grade, ImageSpec


class Placed(Protocol):
    """A loaded network: what computes, where and in which precision."""

    denoiser: Any
    device: str
    dtype: torch.dtype


_BACKENDS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def device_name(device: str) -> str:
    """The card's name, or the CPU with the vector units torch uses: both decide the last bit."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return f"{device} ({torch.backends.cpu.get_cpu_capability()})"


def receipt(
    card: ModelCard,
    spec: ImageSpec,
    index: int,
    grade: Grade,
    where: Placed,
    prompt: str,
    negative: str,
) -> dict[str, Any]:
    """The recipe of picture ``index``, without what is known only at its end.

    :func:`storage.recipes.spec_of` turns it back into a spec. The runner adds ``sha256`` of the
    uint8 pixels and, in the *replay* grade, ``bucket`` (rows of every pass) or ``buckets`` (rows
    of each pass, where neighbours came and went).
    """
    stored = {} if card.precision == "full" else {"precision": card.precision}
    instead = {name: part for name in ("unet", "gguf") if (part := getattr(card, name))}
    return (
        recipe_of(spec, index)
        | stored
        | instead
        | {
            "revision": card.revision,
            "model_prompt": prompt,
            "model_negative": negative,
            "grade": grade,
            "noise": "cpu generator, fp32",
            "dtype": str(where.dtype).removeprefix("torch."),
            "device": device_name(where.device),
            "threads": torch.get_num_threads(),
            "attention": attention(where.denoiser),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
        }
    )


def attention(denoiser: Any) -> str:
    """The attention backend: diffusers' name of it where one was set, else torch's own SDPA.

    It is chosen when a model is loaded, and looked up once.
    """
    if denoiser not in _BACKENDS:
        _BACKENDS[denoiser] = _attention(denoiser)
    return _BACKENDS[denoiser]


def _attention(denoiser: Any) -> str:
    for module in denoiser.modules():
        backend = getattr(getattr(module, "processor", None), "_attention_backend", None)
        if backend is not None:
            return str(getattr(backend, "value", backend))
    return "sdpa"
