"""Stable Diffusion 1.x, 2.x (also v-prediction), SD-Turbo, LCM and the starter."""

from __future__ import annotations

from typing import Any, ClassVar

from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.work import Condition


class StableDiffusion(UNetFamily):
    """``StableDiffusionPipeline``: one text encoder, ``[1, 77, width]`` for a text."""

    pipelines = (
        "StableDiffusionPipeline",
        "LatentConsistencyModelPipeline",
        "StableDiffusionInpaintPipeline",
    )
    starts_index = False
    load_options: ClassVar[dict[str, Any]] = {
        "safety_checker": None,  # moderation is a room of its own, and judges every picture
        "feature_extractor": None,
        "requires_safety_checker": False,
    }

    def encode(self, text: str) -> Condition:
        """``texts`` ``[1, tokens, width]``."""
        return {"texts": self.pipe.encode_prompt(text, self.device, 1, False)[0]}
