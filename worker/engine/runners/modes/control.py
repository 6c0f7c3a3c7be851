"""ControlNet: a picture whose lines, depth or pose the result follows (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from storage.errors import BadInput
from storage.registry import Registry
from storage.schema import Control, ControlKind
from worker.engine.exact import make_exact
from worker.engine.runners import pixels
from worker.engine.runners.base import Pictures
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.modes.adapters import checked
from worker.engine.runners.modes.annotate import Annotators
from worker.engine.runners.modes.canvas import grown
from worker.engine.runners.work import Hook, ImageWork, Row

KEPT = 2
"""ControlNets kept beside a model."""


class Controls:
    """The ControlNets loaded beside one model. Lives on the engine thread."""

    def __init__(self, family: UNetFamily, registry: Registry, model: str, folder: Path) -> None:
        self._family = family
        self._registry = registry
        self._model = model
        self._folder = folder
        self._nets: dict[ControlKind, Any] = {}
        self.annotators = Annotators(registry, model, folder, family.device)

    def net(self, kind: ControlKind) -> Any:
        """The ControlNet that reads this kind of picture. Raises ``BadInput('control_absent')``."""
        found = self._nets.pop(kind, None)
        if found is not None:
            self._nets[kind] = found
            return found
        card = self._registry.control_for(self._model, kind)
        if card is None:
            raise BadInput("control_absent", control=str(kind))
        from diffusers import ControlNetModel

        folder = checked(self._folder, card).parent
        load: Any = ControlNetModel.from_pretrained
        net = load(folder, dtype=self._family.dtype, use_safetensors=True, local_files_only=True)
        net.to(self._family.device).eval()
        if self._family.exact:
            make_exact(net)
        while len(self._nets) >= KEPT:
            self._nets.pop(next(iter(self._nets)))  # the one unused for longest
        self._nets[kind] = net
        return net

    def move(self, device: str) -> None:
        """To RAM and back, with the model they stand beside."""
        for net in self._nets.values():
            net.to(device)
        self.annotators.move(device)


class ControlHook(Hook):
    """Adds a ControlNet's residuals to every pass; run row by row, so that no neighbour counts."""

    def __init__(self, controls: Controls, control: Control, pictures: Pictures) -> None:
        self._net = controls.net(control.kind)
        self._annotators = controls.annotators
        self._control = control
        self._picture = pictures[control.source.blob]
        self._given = torch.empty(0)
        self.tag = f"control:{control.kind}"

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """Reads the control picture; where to begin is for others to say."""
        size = (work.spec.width, work.spec.height)
        image = ImageOps.fit(self._picture.convert("RGB"), size, Image.Resampling.LANCZOS)
        if not self._control.annotated:
            image = self._annotators.read(self._control.kind, image)
        image = grown(image, work.width, work.height)
        work.recipe["control_sha256"] = pixels.digest(image)
        given = np.asarray(image, np.float32) / 255
        self._given = torch.from_numpy(given).permute(2, 0, 1)[None]
        self._given = self._given.to(family.device, family.dtype)
        return None

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """Each row with its residuals."""
        for row in rows:
            added = None
            if "pooled" in row.condition:
                added = {
                    "text_embeds": row.condition["pooled"],
                    "time_ids": row.condition["time_ids"],
                }
            down, mid = self._net(
                row.sample[:, : self._net.config.in_channels].to(family.dtype),
                row.time[None],
                encoder_hidden_states=row.condition["texts"],
                controlnet_cond=self._given,
                conditioning_scale=self._control.scale,
                added_cond_kwargs=added,
                return_dict=False,
            )
            row.extras["down"], row.extras["mid"] = tuple(down), mid
        return rows
