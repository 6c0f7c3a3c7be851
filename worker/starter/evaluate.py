"""Draws 200 named icons that were never used for tuning and says how many are recognisable.

``python -m worker.starter.evaluate --out var/starter`` loads the shipped model
as the worker does, draws every evaluation name once by its plain name and a
fixed seed, and looks for the nearest training pictures in a fixed embedding
(`likeness.py`). It writes `card/evaluation.json`, `card/samples.png` (the first
hundred names, none left out) and `card/loss.png`. `--tuning` draws the tuning
names instead and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worker.starter.data import Icons, Pixels
from worker.starter.likeness import embed, ranks
from worker.starter.names import evaluation_names, tuning_names, words
from worker.starter.picture import ensure_picture_model
from worker.starter.sheet import save_curve, save_sheet

CARD = Path(__file__).parent / "card"
STEPS, GUIDANCE, SEED = 20, 3.0, 20_000


def draw(pipeline: Any, prompts: Sequence[str], steps: int, guidance: float) -> Pixels:
    """One picture per prompt (n, 128, 128, 3); prompt i has seed 20000 + i."""
    pictures = []
    for start in range(0, len(prompts), 20):
        part = list(prompts[start : start + 20])
        seeds = [torch.Generator().manual_seed(SEED + start + i) for i in range(len(part))]
        result = pipeline(
            part,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=seeds,
            output_type="np",
        )
        pictures.append((result.images * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def found(places: Sequence[int]) -> dict[str, float]:
    """Shares of names found at the first place and among the first five."""
    return {
        "top_1": round(float(np.mean([place < 1 for place in places])), 4),
        "top_5": round(float(np.mean([place < 5 for place in places])), 4),
    }


def chance(copies: int, pictures: int) -> dict[str, float]:
    """What a picture drawn at random would get, with `copies` of its name among `pictures`."""
    miss = 1.0
    for place in range(5):
        miss *= 1 - copies / (pictures - place)
    return {"top_1": round(copies / pictures, 4), "top_5": round(1 - miss, 4)}


def report(icons: Icons, drawn: Pixels, wanted: list[str]) -> dict[str, Any]:
    """The figures, against the flat set alone and against all styles."""
    plain = [i for i, colour in enumerate(icons.colours) if not colour]
    flat = [i for i in plain if icons.styles[i] == "flat"]
    vectors = dict(zip(plain, embed(icons.pixels[plain]), strict=True))
    ours = embed(drawn)

    def places(known: list[int], pictures: Any) -> list[int]:
        names = [icons.names[i] for i in known]
        return ranks(pictures, np.stack([vectors[i] for i in known]), names, wanted)

    soft = {icons.names[i]: i for i in plain if icons.styles[i] == "soft"}
    other = [vectors[soft[name]] for name in wanted if name in soft]
    flat_places = places(flat, ours)
    result = {
        "flat": found(flat_places) | {"pictures": len(flat)},
        "flat_chance": chance(1, len(flat)),
        "all_styles": found(places(plain, ours)) | {"pictures": len(plain)},
        "all_styles_chance": chance(4, len(plain)),
        "median_place_in_flat": float(np.median(flat_places)),
        "not_in_first_five": [
            words(name) for name, place in zip(wanted, flat_places, strict=True) if place >= 5
        ],
    }
    if len(other) == len(wanted):
        result["noto_drawings_of_the_same_names_in_flat"] = found(places(flat, np.stack(other)))
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("var/starter"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tuning", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from diffusers import StableDiffusionPipeline

    icons = Icons.load(options.out / "icons.npz")
    names = sorted(set(icons.names))
    wanted = tuning_names(names) if options.tuning else evaluation_names(names)
    folder = ensure_picture_model(options.out / "picture")
    load: Any = StableDiffusionPipeline.from_pretrained
    pipeline = load(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    begun = time.monotonic()
    drawn = draw(pipeline, [words(name) for name in wanted], options.steps, options.guidance)
    seconds = time.monotonic() - begun
    result: dict[str, Any] = {
        "names": len(wanted),
        "prompt": "the plain name",
        "steps": options.steps,
        "guidance": options.guidance,
        "scheduler": type(pipeline.scheduler).__name__,
        "first_seed": SEED,
        "seconds_per_picture": round(seconds / len(wanted), 3),
        **report(icons, drawn, wanted),
    }
    print(json.dumps(result, indent=2))
    pictures = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
    captions = [words(name) for name in wanted]
    if options.tuning:
        save_sheet(pictures, options.out / "sheets" / "tuning.png", 10, captions)
        return
    curve = json.loads((options.out / "curve.json").read_text())
    result["samples_seen_in_training"] = curve[-1][0]
    CARD.mkdir(exist_ok=True)
    (CARD / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    save_sheet(pictures[:100], CARD / "samples.png", 10, captions[:100])
    save_curve(curve, CARD / "loss.png")


if __name__ == "__main__":
    main()
