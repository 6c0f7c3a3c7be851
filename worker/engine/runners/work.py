"""One picture in the making, what it puts into a shared pass, and where modes may step in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from storage.schema import Grade, ImageSpec

if TYPE_CHECKING:
    from worker.engine.runners.families.base import Family

Condition = dict[str, Tensor]
"""What one row is conditioned on: tensors by the family's own names, each of batch size one
(``texts`` ``[1, tokens, width]`` everywhere; SDXL adds ``pooled`` and ``time_ids``)."""


@dataclass
class Row:
    """One row of a shared pass: a picture under one condition.

    ``sample`` is ``[1, ...]``, scaled as the denoiser takes it; ``time`` is a scalar fp32 tensor in
    the denoiser's own unit. ``extras`` are further inputs that a :class:`Hook` adds; see there.
    """

    sample: Tensor
    time: Tensor
    condition: Condition
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass
class ImageWork:
    """A begun picture: all that a diffusers pipeline would hold in local variables.

    ``latents`` are fp32 on the model's device, batch size one, in the shape the family steps.
    ``sampler`` is a diffusers scheduler object of this picture's own; ``timesteps`` are those still
    to be made in all (a hook may have cut the first ones off); ``step`` counts from 0.
    """

    spec: ImageSpec
    index: int
    seed: int
    width: int
    """Pixels of the picture as it is denoised and decoded: ``spec.width`` rounded up to cells."""
    height: int
    sampler: Any
    timesteps: Tensor
    generator: torch.Generator
    conditions: tuple[Condition, ...]
    """One a row: the negative and the prompt under guidance, else the prompt."""
    grade: Grade
    recipe: dict[str, Any] = field(default_factory=dict)
    latents: Tensor = field(default_factory=lambda: torch.empty(0))
    hooks: tuple[Hook, ...] = ()
    key: str = ""
    shape: str = ""
    """The part of ``key`` that says which passes it fits into."""
    compiled: bool = False
    """Drawn by compiled code, from its first step to its last."""
    compiled_steps: int = 0
    step_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``sampler.step``: the generator, where it draws noise."""
    step: int = 0
    buckets: list[int] = field(default_factory=list)
    """Rows of each pass it was part of, so that *replay* can repeat them."""

    @property
    def steps(self) -> int:
        """Denoising steps in all."""
        return len(self.timesteps)

    @property
    def left(self) -> int:
        """Denoising steps still to come."""
        return self.steps - self.step

    @property
    def weight(self) -> int:
        """Rows of a shared pass: 2 under classifier-free guidance, else 1."""
        return len(self.conditions)

    @property
    def moment(self) -> Tensor:
        """The timestep of the step to make now."""
        return self.timesteps[self.step]


class Hook:
    """Where a mode changes how a picture is made; the default of every method changes nothing.

    One object per picture (it may hold that picture's tensors), all methods on the engine thread
    in ``inference_mode``. A picture may have several hooks: an inpaint, a control and a LoRA, say;
    they are asked in order. In the life of a picture:

    1. :meth:`condition` - prompt embeddings made outside (compel). The first hook that answers
       wins; else the family encodes the texts.
    2. :meth:`start` - the latents to begin with. The first that answers wins; else fp32 noise from
       ``work.generator`` times ``sampler.init_noise_sigma``. It may cut the schedule
       (``work.timesteps = work.timesteps[n:]``, ``work.sampler.set_begin_index(n)``) and must draw
       all its noise from ``work.generator``, on the CPU, in the order its own pipeline does, and
       return fp32.
    3. :attr:`tag` - joins the batch key: pictures share a pass only if their tags are equal. It
       must name everything that changes the network itself (LoRAs with weights, IP-Adapter scale)
       or the shape of the inputs (a control model, nine input channels), and nothing else.
    4. Before every pass of a batch: :meth:`activate` of the first picture's hooks (put this tag's
       LoRAs and scales on; called for every pass, so it must be quick when nothing changed), then
       :meth:`rows` for each picture: may change ``Row.sample`` (append inpaint channels), and
       ``Row.extras``, of which the UNet families know

       - ``down``: tuple of ControlNet residuals ``[1, C, h, w]``, ``mid``: the middle one;
       - ``image_embeds``: list of IP-Adapter embeddings, ``[1, pictures, ...]`` each;

       and Z-Image ``blocks``: dict of block index to ControlNet residual ``[1, tokens, width]``.
       It must not change the work: a failed pass is tried again with fewer pictures.
    5. After the sampler's step: :meth:`after_step` may change ``work.latents`` (blend what the mask
       keeps, at ``work.timesteps[work.step]`` for the step to come).
    6. :meth:`finish` - the decoded picture to the one delivered, before it is hashed.

    A hook that makes a network part of the pass (a ControlNet) calls
    :func:`worker.engine.exact.make_exact` on it where ``family.exact`` is true, and runs it picture
    by picture, so that no neighbour changes a bit.
    """

    tag: str = ""

    def condition(
        self, family: Family, spec: ImageSpec, prompt: str, negative: str
    ) -> tuple[Condition, ...] | None:
        """The rows' conditions in the family's order (see ``Family.conditions``), or None."""
        return None

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """The first latents, scaled for ``work.timesteps[0]``, or None for plain noise."""
        return None

    def activate(self, family: Family) -> None:
        """Puts the network into the state that :attr:`tag` names."""

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """The picture's rows of the pass to come, changed as the mode needs."""
        return rows

    def after_step(self, family: Family, work: ImageWork) -> None:
        """Called when ``work.step`` has been raised; may change ``work.latents``."""

    def finish(self, family: Family, work: ImageWork, image: Image.Image) -> Image.Image:
        """The picture to deliver, ``spec.width`` x ``spec.height`` unless the mode says so."""
        return image
