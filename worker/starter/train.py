"""Trains the picture model; stop it at any time and run it again to go on.

On two CPU cores, in the background, for 100 minutes of training::

    nice -n 19 python -m worker.starter.train --out var/starter --minutes 100

On a GPU, larger and with every style::

    python -m worker.starter.train --out var/big --device cuda --processes 1 \
        --batch 256 --units 1 --channels 320 640 --layers 2 --minutes 60 --shares 0.5 0.2 0.3

`--out` must hold `icons.npz` (made by `worker.starter.data`). There it keeps
`vae/`, `captions.pt`, `checkpoint.pt`, `curve.json` and sample sheets.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from worker.starter.captions import CaptionTable, encode, table
from worker.starter.data import Icons
from worker.starter.model import LATENTS, draw, make_scheduler, make_unet
from worker.starter.names import tuning_names, words
from worker.starter.patch_autoencoder import PatchAutoencoder
from worker.starter.sheet import save_sheet

EMA = 0.995


@dataclass
class Progress:
    """How far training is; `curve` holds (samples, seconds, loss) about every 50 steps."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def prepare(out: Path) -> tuple[Icons, CaptionTable, PatchAutoencoder, Tensor]:
    """Icons, captions, autoencoder and all latents (n, 48, 8, 8); fits the projection once."""
    icons = Icons.load(out / "icons.npz")
    captions = table(icons, out / "captions.pt")
    if (out / "vae").exists():
        vae = PatchAutoencoder.from_pretrained(out / "vae")
    else:
        vae = PatchAutoencoder(latent_channels=LATENTS)
        chosen = [i for i, style in enumerate(icons.styles) if i % 3 == 0 or style == "flat"][:3200]
        energy = vae.fit(to_tensor(icons, np.array(chosen)))
        print(f"projection keeps {energy:.4f} of the energy", flush=True)
        vae.save_pretrained(out / "vae")
    latents = torch.cat(
        [
            vae.encode(
                to_tensor(icons, np.arange(start, min(start + 512, len(icons.names))))
            ).latent_dist.mean
            for start in range(0, len(icons.names), 512)
        ]
    )
    return icons, captions, vae, latents.half()


def to_tensor(icons: Icons, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    """Pictures (n, 3, 128, 128) in -1 to 1."""
    return torch.from_numpy(icons.pixels[chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1


class Sampler:
    """Draws training examples; what it draws depends only on the seed it is given."""

    def __init__(self, icons: Icons, captions: CaptionTable, shares: list[float]) -> None:
        kinds = np.array(
            [
                1 if colour else 0 if style == "flat" else 2
                for style, colour in zip(icons.styles, icons.colours, strict=True)
            ]
        )
        self.groups = [np.flatnonzero(kinds == kind) for kind in range(3)]
        self.shares = np.array(shares) / sum(shares)
        self.captions = captions

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """(picture indices, caption rows), both (count,); a tenth of the captions is empty."""
        rng = np.random.default_rng(seed)
        kinds = rng.choice(3, count, p=self.shares)
        chosen = np.array([rng.choice(self.groups[kind]) for kind in kinds])
        rows = [
            0
            if rng.random() < 0.1
            else int(rng.choice(self.captions.rows[i], p=self.captions.weights[i]))
            for i in chosen
        ]
        return torch.from_numpy(chosen), torch.tensor(rows)


def units(count: int, taken: Any) -> Iterator[int]:
    """The small batches of a step this process does: all, or the next one nobody took."""
    if taken is None:
        yield from range(count)
        return
    while True:
        with taken.get_lock():
            unit = int(taken.value)
            taken.value += 1
        if unit >= count:
            return
        yield unit


def rate(progress: float, step: int, peak: float) -> float:
    """Learning rate: warm up 150 steps, hold until half time, then fall in a line to 2 %."""
    fall = 1.0 if progress < 0.5 else max(0.02, 1 - (progress - 0.5) / 0.5)
    return peak * fall * min(1.0, (step + 1) / 150)


def timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Three kinds of time: around the middle, near pure noise, and anything.

    Near pure noise the caption alone decides what is drawn and where, so 45 %
    go there (logit-normal around 0.83); 40 % go around 0.57, where shapes
    form; 15 % are uniform.
    """
    pick = torch.rand(count, generator=generator)
    centre = torch.where(pick < 0.45, 1.6, 0.3)
    bell = torch.sigmoid(torch.randn(count, generator=generator) + centre)
    flat = torch.rand(count, generator=generator)
    return (torch.where(pick < 0.85, bell, flat) * 1000).long().clamp(0, 999)


def work(
    rank: int, options: argparse.Namespace, meet: Any = None, grads: Any = None, taken: Any = None
) -> None:
    """One training process.

    A step is `units` small batches. With several processes, each takes the
    next one when it is free, so that a core busy with other work slows nobody
    down much: `taken` counts them, `grads` (processes, parameters) is shared
    memory with one row of gradients each, `meet` is the barrier they wait at.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    out: Path = options.out
    if rank:
        meet.wait()
    icons, captions, vae, latents = prepare(out)
    if meet and not rank:
        meet.wait()
    device = torch.device(options.device)
    torch.manual_seed(0)
    unet = make_unet(tuple(options.channels), options.layers).to(device)
    smooth = make_unet(tuple(options.channels), options.layers).to(device).requires_grad_(False)
    smooth.load_state_dict(unet.state_dict())
    parameters = list(unet.parameters())
    if device.type == "cpu":  # the fused attention's backward is ten times slower there
        unet.set_attn_processor(AttnProcessor())
    size = sum(p.numel() for p in parameters)
    flat = grads[rank, :size] if meet else torch.zeros(size, device=device)
    part = slice(rank * size // options.processes, (rank + 1) * size // options.processes)
    place = 0
    for parameter in parameters:
        parameter.grad = flat[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    optimizer = torch.optim.AdamW(
        parameters, lr=options.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    done = Progress()
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        stored = torch.load(checkpoint, map_location=device, weights_only=True)
        unet.load_state_dict(stored["model"])
        smooth.load_state_dict(stored["ema"])
        optimizer.load_state_dict(stored["optimizer"])
        done = Progress(**stored["progress"])
    if not rank:
        print(f"{len(flat) / 1e6:.1f} M parameters, from sample {done.samples}", flush=True)
    sampler = Sampler(icons, captions, options.shares)
    states, latents = captions.states.to(device), latents.to(device)
    alphas = make_scheduler().alphas_cumprod.to(device)
    losses: list[Tensor] = []
    last = saved = sheet = time.monotonic()
    begun, clock = done.samples, done.seconds
    while clock < options.minutes * 60:
        flat.zero_()
        for unit in units(options.units, taken):
            seed = done.step * options.units + unit
            generator = torch.Generator().manual_seed(seed + 12345)
            chosen, rows = sampler.draw(options.batch, seed)
            clean, text = latents[chosen].float(), states[rows].float()
            t = timesteps(options.batch, generator).to(device)
            noise = torch.randn(clean.shape, generator=generator).to(device)
            signal = alphas[t].sqrt().view(-1, 1, 1, 1)
            spread = (1 - alphas[t]).sqrt().view(-1, 1, 1, 1)
            with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
                guess = unet(signal * clean + spread * noise, t, text).sample.float()
            loss = (guess - (signal * noise - spread * clean)).square().mean()
            (loss / options.units).backward()
            if not rank:
                losses.append(loss.detach())
        if meet:  # every process adds up its part of the gradients for all
            meet.wait()
            if not rank:
                taken.value = 0
                grads[0, size] = done.seconds
            grads[:, part] = grads[:, part].sum(0, keepdim=True)
            meet.wait()
        clock = float(grads[0, size]) if meet else done.seconds  # all follow that of the first
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = rate(clock / (options.minutes * 60), done.step, options.rate)
        optimizer.step()
        done.step += 1
        done.samples += options.batch * options.units
        if rank:
            continue
        keep = min(EMA, (1 + done.step) / (10 + done.step))
        torch._foreach_lerp_(list(smooth.parameters()), parameters, 1 - keep)
        now = time.monotonic()
        done.seconds += now - last
        last = now
        if done.step % 50 == 0 and losses:
            mean = float(torch.stack(losses).mean())
            done.curve.append((done.samples, done.seconds, mean))
            losses.clear()
            if not math.isfinite(mean):
                raise FloatingPointError("the loss is not finite; lower --rate")
            print(f"{done.step} {done.samples} {done.seconds:.0f}s {mean:.4f}", flush=True)
        if now - saved > options.save_every or clock >= options.minutes * 60:
            saved = now
            save(checkpoint, unet, smooth, optimizer, done)
        if now - sheet > options.sheet_every and done.samples > begun:
            sheet = now
            names = tuning_names(sorted(set(icons.names)), 36)
            told = encode(["", *map(words, names)])
            pictures = draw(smooth, vae, told[1:], told[:1], steps=15)
            save_sheet(pictures, out / "sheets" / f"{done.samples:07d}.png", columns=9)
    if not rank:
        save(checkpoint, unet, smooth, optimizer, done)
        print("done", flush=True)


def save(
    path: Path,
    model: nn.Module,
    smooth: nn.Module,
    optimizer: torch.optim.Optimizer,
    done: Progress,
) -> None:
    """Write the checkpoint and the loss curve; each replaces the old one in one step."""
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "model": model.state_dict(),
            "ema": smooth.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": vars(done),
        },
        temporary,
    )
    temporary.replace(path)
    path.with_name("curve.json").write_text(json.dumps(done.curve))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="per process; 0 leaves it alone")
    parser.add_argument("--batch", type=int, default=12, help="pictures that are computed together")
    parser.add_argument("--units", type=int, default=4, help="such batches in a step")
    parser.add_argument("--channels", type=int, nargs="+", default=[160, 288])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--minutes", type=float, default=100, help="training time in all")
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=[0.88, 0.12, 0.0],
        help="of flat, recoloured and other-style pictures",
    )
    parser.add_argument("--no-bf16", dest="bf16", action="store_false")
    parser.add_argument("--save-every", type=float, default=180, help="seconds")
    parser.add_argument("--sheet-every", type=float, default=780, help="seconds")
    options = parser.parse_args()
    if options.processes == 1:
        work(0, options)
    else:
        count = options.processes
        unet = make_unet(tuple(options.channels), options.layers)
        size = sum(p.numel() for p in unet.parameters())
        grads: Any = torch.zeros(count, size + 1)
        grads.share_memory_()
        spawn = multiprocessing.get_context("spawn")
        extra = (spawn.Barrier(count), grads, spawn.Value("q", 0))
        start: Any = import_module("torch.multiprocessing.spawn").spawn
        start(work, args=(options, *extra), nprocs=count)


if __name__ == "__main__":
    main()
