"""Trains the starter upscaler: first on pixels, then against a discriminator.

Get the icon sets (``data.py`` says how), then::

    python -m worker.starter.upscaler_data NODE_MODULES --out var/starter      # two minutes
    nice -n 10 python -m worker.starter.train_upscaler --out var/starter --minutes 25
    python -m worker.starter.evaluate_upscaler --out var/starter

It may be stopped and goes on from its checkpoint. The first 55 % of the time it minimises the mean
absolute error of pixels and of their differences to neighbours. Then a discriminator joins: hinge
loss (Lim & Ye 2017, arXiv 1705.02894), with the generator also matching the discriminator's
features of the true picture (Salimans et al. 2016, arXiv 1606.03498), which is what a learned
perceptual distance is for where no pretrained one may be used.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from worker.starter.upscaler import WEIGHTS, Discriminator, Generator
from worker.starter.upscaler_data import Pairs, load

ADVERSARIAL, FEATURES, EDGES = 0.002, 0.05, 0.5
"""Weights of the losses beside the pixels' own 1."""


@dataclass
class Progress:
    """What a checkpoint remembers besides the networks."""

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)


def differences(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of every pixel to the one right of it and below it."""
    return pictures[..., 1:] - pictures[..., :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


def pixel_loss(made: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error of pixels and, weighted, of their differences."""
    loss = (made - true).abs().mean()
    for ours, theirs in zip(differences(made), differences(true), strict=True):
        loss = loss + EDGES * (ours - theirs).abs().mean()
    return loss


def rate(share: float, peak: float, joined: float) -> float:
    """Learning rate at a share of the time: falls by cosine, half the peak once judged."""
    part = share / joined if share < joined else (share - joined) / (1 - joined)
    top = peak if share < joined else peak / 2
    return top * (0.03 + 0.97 * (1 + float(torch.cos(torch.tensor(part * torch.pi)))) / 2)


def train(out: Path, minutes: float, batch: int, patch: int, joined: float, peak: float) -> None:
    """Trains for ``minutes`` in all and writes checkpoint and ``upscaler.safetensors``."""
    torch.manual_seed(0)
    pairs = Pairs(load(out), patch)
    net, judge, smooth = Generator(), Discriminator(), Generator()
    nets: list[Any] = [net, judge, smooth]
    for module in nets:
        module.to(memory_format=torch.channels_last)
    smooth.requires_grad_(False).load_state_dict(net.state_dict())
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=peak, betas=(0.9, 0.99)),
        torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.99)),
    ]
    done = Progress()
    checkpoint = out / "upscaler.pt"
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        for module, state in zip(nets, stored["nets"], strict=True):
            module.load_state_dict(state)
        for optimizer, state in zip(optimizers, stored["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        done = Progress(**stored["progress"])
    size = sum(p.numel() for p in net.parameters())
    print(f"{size:,} parameters, from step {done.step}", flush=True)
    last = saved = time.monotonic()
    sums = [0.0, 0.0, 0.0]

    def save() -> None:
        temporary = checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "nets": [n.state_dict() for n in nets],
                "optimizers": [o.state_dict() for o in optimizers],
                "progress": vars(done),
            },
            temporary,
        )
        temporary.replace(checkpoint)
        export(smooth, out / "upscaler.safetensors")
        (out / "upscaler_curve.json").write_text(json.dumps(done.curve))

    while done.seconds < minutes * 60:
        share = done.seconds / (minutes * 60)
        small, large = pairs.draw(batch, done.step)
        small = small.contiguous(memory_format=torch.channels_last)
        made = net(small)
        pixels = pixel_loss(made, large)
        loss, told = pixels, (0.0, 0.0)
        if share >= joined:
            loss, told = pixels + against(judge, optimizers[1], made, large), (0.0, 0.0)
            told = (float(loss.detach() - pixels.detach()), 1.0)
        optimizers[0].param_groups[0]["lr"] = rate(share, peak, joined)
        optimizers[0].zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizers[0].step()
        keep = min(0.998, (1 + done.step) / (10 + done.step))
        torch._foreach_lerp_(list(smooth.parameters()), list(net.parameters()), 1 - keep)
        done.step += 1
        sums = [sums[0] + float(pixels.detach()), sums[1] + told[0], sums[2] + 1]
        now = time.monotonic()
        done.seconds, last = done.seconds + now - last, now
        if done.step % 50 == 0:
            means = [value / sums[2] for value in sums]
            done.curve.append((done.step, done.seconds, means[0], means[1]))
            print(f"{done.step} {done.seconds:.0f}s {means[0]:.5f} {means[1]:.5f}", flush=True)
            sums = [0.0, 0.0, 0.0]
        if now - saved > 120:
            saved = now
            save()
    save()
    print("done", flush=True)


def against(
    judge: Discriminator, optimizer: torch.optim.Optimizer, made: Tensor, true: Tensor
) -> Tensor:
    """One step of the discriminator, then what it makes of the generator's pictures."""
    optimizer.zero_grad()
    real, _ = judge(true)
    fake, _ = judge(made.detach())
    torch.autograd.backward(F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    optimizer.step()
    judge.requires_grad_(False)
    score, ours = judge(made)
    with torch.no_grad():
        _, theirs = judge(true)
    judge.requires_grad_(True)
    alike = torch.stack([(a - b).abs().mean() for a, b in zip(ours, theirs, strict=True)]).sum()
    loss: Tensor = FEATURES * alike - ADVERSARIAL * score.mean()
    return loss


def export(net: Generator, target: Path) -> None:
    """Writes a generator as float16 safetensors."""
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, target)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--minutes", type=float, default=25, help="training time in all")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=32, help="edge of the small patches, pixels")
    parser.add_argument("--joined", type=float, default=0.55, help="when the judge joins, 0 to 1")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ship", action="store_true", help="copy the result into the package")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.out, options.minutes, options.batch, options.patch, options.joined, options.rate)
    if options.ship:
        WEIGHTS.parent.mkdir(exist_ok=True)
        WEIGHTS.write_bytes((options.out / "upscaler.safetensors").read_bytes())


if __name__ == "__main__":
    main()
