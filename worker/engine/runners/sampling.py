"""From scores to the next token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TOP_P = 0.9
"""Sampling draws from the smallest set of tokens that holds this much probability."""


def penalise(scores: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """``[vocabulary]`` scores with every token of ``ids`` made less likely.

    Divides positive and multiplies negative scores (CTRL, Keskar et al. 2019, arXiv 1909.05858);
    small models loop without it. A penalty of 1 changes nothing.
    """
    if penalty == 1.0:
        return scores
    seen = torch.tensor(sorted(set(ids)))
    old = scores[seen]
    scores = scores.clone()
    scores[seen] = torch.where(old < 0, old * penalty, old / penalty)
    return scores


def choose(scores: Tensor, temperature: float, generator: torch.Generator) -> int:
    """The next token from ``[vocabulary]`` fp32 scores on the CPU.

    Temperature 0 is greedy. Otherwise nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)
    with :data:`TOP_P`, from ``generator`` alone: exactly one draw a token.
    """
    if temperature == 0:
        return int(scores.argmax())
    chances, order = torch.softmax(scores / temperature, dim=-1).sort(descending=True, stable=True)
    before = chances.cumsum(dim=-1) - chances
    chances = torch.where(before < TOP_P, chances, torch.zeros_like(chances))
    return int(order[torch.multinomial(chances, 1, generator=generator)])
