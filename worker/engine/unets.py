"""Distilled denoisers that come alone: a UNet put in the place of a base checkpoint's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file

from storage.registry import ModelCard


def replaced_unet(
    card: ModelCard, source: str, options: dict[str, Any], models_dir: Path, dtype: torch.dtype
) -> Any:
    """The UNet that ``card.unet`` names: safetensors, from its pinned commit.

    Read from ``models_dir/<name>-unet`` if someone put it there (the one file, or a diffusers
    folder), else from the hub. One file holds bare weights: its shape is the base's. Raises
    ``OSError`` for missing files and ``RuntimeError`` for weights of another shape.
    """
    pinned, _, file = card.unet.partition(":")
    repo, _, revision = pinned.partition("@")
    folder = models_dir / f"{card.name}-unet"
    cache = str(models_dir / "hub")
    kind: Any = UNet2DConditionModel
    if not file:
        local = folder.is_dir()
        where = {"local_files_only": True} if local else {"revision": revision, "cache_dir": cache}
        return kind.from_pretrained(
            str(folder) if local else repo, dtype=dtype, use_safetensors=True, **where
        )
    path = folder / file
    if not path.is_file():
        path = Path(hf_hub_download(repo, file, revision=revision, cache_dir=cache))
    unet = kind.from_config(kind.load_config(source, subfolder="unet", **options))
    unet.load_state_dict(load_file(path))
    return unet.to(dtype).eval()
