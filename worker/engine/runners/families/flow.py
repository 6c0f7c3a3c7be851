"""What the flow-matching families share: straight paths from noise to picture, shifted by size."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from worker.engine.runners.families.base import Family
from worker.engine.runners.work import ImageWork


class FlowFamily(Family):
    """Transformers that predict the velocity from picture to noise (Lipman 2022, 2210.02747)."""

    samplers = frozenset({"own", "flow", "unipc"})

    def _denoiser(self) -> Any:
        return self.pipe.transformer

    def sampler_settings(self, name: str, steps: int) -> dict[str, Any]:
        """Solvers made for noise prediction are told that this is a flow, and how it is shifted."""
        if name in ("own", "flow"):
            return {}
        config = self.pipe.scheduler.config
        return {
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "use_dynamic_shifting": bool(config.get("use_dynamic_shifting")),
            "flow_shift": float(config.get("shift") or 1.0),
        }

    @abstractmethod
    def shift(self, steps: int, width: int, height: int) -> float:
        """``mu``: how far the schedule leans towards noise for a picture of this size."""

    @abstractmethod
    def sigmas(self, scheduler: Any, steps: int) -> Any:
        """Noise levels before the shift; None lets the scheduler choose."""

    def schedule(self, scheduler: Any, steps: int, width: int, height: int) -> Tensor:
        """Timesteps shifted for the picture's size, as the pipeline does."""
        sigmas = self.sigmas(scheduler, steps)
        mu = self.shift(steps, width, height)
        if sigmas is None:
            scheduler.set_timesteps(steps, device=self.device, mu=mu)
        else:
            scheduler.set_timesteps(sigmas=sigmas, device=self.device, mu=mu)
        scheduler.set_begin_index(0)
        timesteps: Tensor = scheduler.timesteps
        return timesteps

    def step_options(self, scheduler: Any, generator: torch.Generator) -> dict[str, Any]:
        """None, as in the pipelines: no sampler offered here draws noise."""
        return {}

    def guess(self, work: ImageWork, noise: Tensor, stepped: Any) -> Tensor:
        """The end of the straight path: ``x - sigma * velocity``."""
        sigma = float(work.sampler.sigmas[work.sampler.step_index - 1])
        return work.latents - sigma * noise
