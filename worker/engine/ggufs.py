"""Transformers of picture models as GGUF files: a quarter of the bytes, read as they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor
from huggingface_hub import hf_hub_download

from storage.registry import ModelCard
from worker.engine.errors import ModelUnavailable


def packed_transformer(
    card: ModelCard,
    index: dict[str, Any],
    source: str,
    options: dict[str, Any],
    models_dir: Path,
    dtype: torch.dtype,
) -> Any:
    """The transformer that ``card.gguf`` names, for the pipeline whose ``model_index.json`` is
    ``index``; computed in ``dtype``.

    Read from ``models_dir/<name>-gguf`` if someone put the file there, else from the hub at its
    pinned commit. Its shape is the base's own (``transformer/config.json`` of ``source``); names of
    the original checkpoints are understood as diffusers understands them. Raises
    ``ModelUnavailable`` for a pipeline without a transformer that can be read so, ``OSError`` for
    missing files and ``ValueError`` for weights of another shape.
    """
    named = (index.get("transformer") or [None, None])[1]
    kind: Any = getattr(diffusers, str(named), None)
    if kind is None or not hasattr(kind, "from_single_file"):
        raise ModelUnavailable(
            f"model {card.name!r} is a {index['_class_name']}, which reads no GGUF file",
            "take `gguf` off its entry in registry.toml",
        )
    pinned, _, file = card.gguf.partition(":")
    repo, _, revision = pinned.partition("@")
    cache = str(models_dir / "hub")
    path = models_dir / f"{card.name}-gguf" / file
    if not path.is_file():
        path = Path(hf_hub_download(repo, file, revision=revision, cache_dir=cache))
    config = Path(source)
    if not config.is_dir():  # the hub's: its file is fetched to where ours are kept
        found = hf_hub_download(
            source, "transformer/config.json", revision=options["revision"], cache_dir=cache
        )
        config = Path(found).parents[1]
    library: Any = diffusers
    transformer = kind.from_single_file(
        str(path), config=str(config), subfolder="transformer", dtype=dtype,
        quantization_config=library.GGUFQuantizationConfig(compute_dtype=dtype),
        local_files_only=True,
    )  # fmt: skip
    _unpack_the_rest(transformer, dtype)
    return transformer.eval()


def _unpack_the_rest(transformer: Any, dtype: torch.dtype) -> None:
    """Packed weights of anything but linear layers, and their biases: diffusers would leave them as
    the file's bytes, which only its linear layers read, and only as their weight."""
    unpack: Any = dequantize_gguf_tensor
    for module in transformer.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            reads = isinstance(module, torch.nn.Linear) and name == "weight"
            if isinstance(weight, GGUFParameter) and not reads:
                whole = unpack(weight).to(dtype)
                module.register_parameter(name, torch.nn.Parameter(whole, requires_grad=False))
