"""Trains the sharpening part of the patch autoencoder; it never changes the latents.

``nice -n 19 python -m worker.starter.train_decoder --out var/starter`` takes a
few minutes on one core, can run beside or after `train.py`, and rewrites
`vae/` with the network in it. Latents are disturbed a little during training,
because the ones it will see are drawn, not encoded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.starter.data import SIZE, Icons
from worker.starter.model import LATENTS
from worker.starter.patch_autoencoder import PATCH, PatchAutoencoder, neighbourhoods


def shifted(pictures: Tensor, generator: np.random.Generator) -> Tensor:
    """Pictures moved by up to half a patch each way, white coming in at the edges."""
    reach = PATCH // 2
    padded = F.pad(pictures, (reach, reach, reach, reach), value=1.0)
    moved = []
    for picture in padded:
        y, x = generator.integers(0, 2 * reach + 1, 2)
        moved.append(picture[:, y : y + SIZE, x : x + SIZE])
    return torch.stack(moved)


def train(out: Path, steps: int, hidden: int, batch: int, noise: float) -> PatchAutoencoder:
    """The autoencoder of `out/vae` with its sharpening network trained, further if it has one."""
    icons = Icons.load(out / "icons.npz")
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    old: PatchAutoencoder = PatchAutoencoder.from_pretrained(out / "vae")
    vae: PatchAutoencoder = PatchAutoencoder(latent_channels=LATENTS, hidden=hidden)
    sharpen: Any = vae.sharpen
    torch.nn.init.zeros_(sharpen[-1].weight)
    torch.nn.init.zeros_(sharpen[-1].bias)
    shapes = {name: value.shape for name, value in vae.state_dict().items()}
    kept = {name: v for name, v in old.state_dict().items() if v.shape == shapes.get(name)}
    vae.load_state_dict(kept, strict=False)
    weights = [
        3.0 if style == "flat" and not colour else 1.0
        for style, colour in zip(icons.styles, icons.colours, strict=True)
    ]
    chances = np.array(weights) / sum(weights)
    order = generator.choice(len(weights), (steps, batch), p=chances)
    optimizer = torch.optim.AdamW(sharpen.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    before = after = 0.0
    for step in range(steps):
        pixels = torch.from_numpy(icons.pixels[order[step]]).permute(0, 3, 1, 2)
        pictures = shifted(pixels.float() / 127.5 - 1, generator)
        with torch.no_grad():
            clean = vae.encode(pictures).latent_dist.mean
            sigma = torch.rand(batch, 1, 1, 1) * noise
            z = clean + sigma * torch.randn_like(clean)
            wanted = F.pixel_unshuffle(pictures, PATCH).movedim(1, -1)
            linear = (z.movedim(1, -1) * vae.scale) @ vae.basis + vae.mean
            near = neighbourhoods(z)
            busy = wanted.amin(-1) < 0.98
            busy |= torch.rand(busy.shape) < 0.25  # and some of the white ground
        with torch.autocast("cpu", torch.bfloat16):
            correction = sharpen(near[busy])
        loss = (linear[busy] + correction.float() - wanted[busy]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        rough = (linear[busy] - wanted[busy]).detach().abs().mean()
        before, after = 0.98 * before + 0.02 * rough.item(), 0.98 * after + 0.02 * loss.item()
        if step % 200 == 199:
            print(f"{step + 1}: linear {before:.4f}, sharpened {after:.4f}", flush=True)
    return vae


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--noise", type=float, default=0.2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    vae = train(options.out, options.steps, options.hidden, options.batch, options.noise)
    vae.save_pretrained(options.out / "vae")


if __name__ == "__main__":
    main()
