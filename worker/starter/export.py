"""Writes the trained weights to `weights/`, as they are shipped.

``python -m worker.starter.export --out var/starter`` takes the smoothed (EMA)
weights of the checkpoint, float16, in shards of at most 14 MB.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from worker.starter.model import make_scheduler, make_unet
from worker.starter.patch_autoencoder import PatchAutoencoder
from worker.starter.picture import WEIGHTS

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["worker.starter.patch_autoencoder", "PatchAutoencoder"],
}


def export(out: Path, target: Path, channels: tuple[int, ...], layers: int) -> int:
    """Write the weights of the training folder `out` to `target`; returns the samples seen."""
    stored = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
    unet = make_unet(channels, layers)
    unet.load_state_dict(stored["ema"])
    vae = PatchAutoencoder.from_pretrained(out / "vae")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    unet.half().save_pretrained(target / "unet", max_shard_size="13MB")
    vae.half().save_pretrained(target / "vae", max_shard_size="13MB")
    make_scheduler().save_pretrained(target / "scheduler")
    (target / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return int(stored["progress"]["samples"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--target", type=Path, default=WEIGHTS)
    parser.add_argument("--channels", type=int, nargs="+", default=[160, 288])
    parser.add_argument("--layers", type=int, default=1)
    options = parser.parse_args()
    samples = export(options.out, options.target, tuple(options.channels), options.layers)
    size = sum(path.stat().st_size for path in options.target.rglob("*") if path.is_file())
    print(f"{samples} samples seen, {size / 1e6:.1f} MB in {options.target}")


if __name__ == "__main__":
    main()
