"""Pictures by steps: requests share the denoiser's pass, each keeps its own state.

The loop of a diffusers pipeline, turned inside out: what the pipeline holds in local variables
lives in an :class:`ImageWork`, so that requests with other prompts, seeds, guidance, samplers and
step counts share one forward pass, join and leave between steps. What differs between
architectures is a :class:`~worker.engine.runners.families.base.Family`; what differs between modes
is a :class:`~worker.engine.runners.work.Hook`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from storage.registry import ModelCard, Registry, Style
from storage.schema import Grade, ImageSpec, JobKind
from worker.engine.embeddings import Embeddings
from worker.engine.exact import shared_rows
from worker.engine.outputs import Picture, Progress
from worker.engine.receipt import receipt
from worker.engine.runners import pixels
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped, weigh
from worker.engine.runners.compiled import BUCKETS, Compiled, bucket_of
from worker.engine.runners.families.base import Family
from worker.engine.runners.work import Condition, Hook, ImageWork, Row

PREVIEWS = 5
"""About how many previews a picture gets over its steps."""

_SHAPES = 4096
"""Combinations of shapes remembered; families that mix sizes could meet any number."""

_serial = itertools.count()

Hooks = Callable[[ImageSpec, int, Family, Pictures], Sequence[Hook]]
"""The hooks of picture ``index`` of a spec, given the pixels of its sources; plain text to image
has none."""


class EmbeddingCache(Protocol):
    """Remembers what texts are encoded to; keys are a model's texts, one cache a loaded model."""

    def get(self, text: str) -> Condition | None:
        """What was put for ``text``, if it is still kept."""

    def put(self, text: str, condition: Condition) -> None:
        """Keeps a condition; its tensors must not be changed afterwards."""


def styled(registry: Registry, spec: ImageSpec) -> tuple[str, str]:
    """Prompt and negative as the model reads them, the style applied.

    Raises ``NotFound('style_unknown')``.
    """
    if spec.template:  # a workspace's own, as it read when it was asked for
        style = Style(name=spec.style, template=spec.template, negative=spec.template_negative)
    elif spec.style:
        style = registry.style(spec.style)
    else:
        return spec.prompt, spec.negative
    negatives = [text for text in (spec.negative, style.negative) if text]
    return style.apply(spec.prompt), ", ".join(negatives)


@dataclass(frozen=True)
class Pass:
    """What a shared pass gave one work: an output a row, or its decoded picture."""

    outs: list[Tensor]
    bucket: int
    """Rows of the whole pass, neighbours and padding included."""
    compiled: bool = False
    """Whether compiled code made all of it."""


class ImageRunner:
    """Steps pictures of one family; see :class:`worker.engine.runners.base`.

    ``grade`` overrides the device's own (*exact* in fp32 on a CPU, else *replay*). ``compiler``
    is a backend of ``torch.compile`` for the denoiser's repeated blocks; empty: none. Compiled
    code rounds as its compiler likes, so that *exact* becomes *replay* with it. ``beside`` moves
    what the modes have loaded beside the pipeline, when that is moved.
    """

    kind = JobKind.IMAGE
    shares = True

    def __init__(
        self,
        card: ModelCard,
        registry: Registry,
        family: Family,
        *,
        hooks: Hooks | None = None,
        embeddings: EmbeddingCache | None = None,
        grade: Grade | None = None,
        compiler: str = "",
        beside: Callable[[str], None] | None = None,
    ) -> None:
        self.card = card
        self.registry = registry
        self.family = family
        self.device = family.device
        able = family.device == "cpu" and family.dtype == torch.float32 and not compiler
        self.grade = grade or (Grade.EXACT if able else Grade.REPLAY)
        if self.grade is Grade.EXACT:
            family.make_exact()
        self.size = weigh(*family.modules())
        self._hooks = hooks
        self._beside = beside
        self._embeddings = embeddings or Embeddings()
        self._preview = pixels.previewer(
            family.pipe.vae, family.decode_cells, family.preview_channels
        )
        self._shareable: dict[tuple[Any, ...], bool] = {}
        self.compiled: Compiled | None = None
        if compiler:
            self.compiled = Compiled(card.name, family.denoiser, family.denoise, compiler)

    # ---- begin -----------------------------------------------------------------------------

    def begin(self, spec: ImageSpec, index: int, pictures: Pictures = NO_PICTURES) -> ImageWork:
        """Picture ``index`` of a spec, before its first step.

        Raises ``BadInput('scheduler_unknown')``, ``BadInput('scheduler_unfit')`` and
        ``NotFound('style_unknown')``.
        """
        family = self.family
        prompt, negative = styled(self.registry, spec)
        hooks = tuple(self._hooks(spec, index, family, pictures)) if self._hooks else ()
        scheduler = family.sampler(spec.scheduler, spec.steps)
        width, height = family.rounded(spec.width), family.rounded(spec.height)
        generator = torch.Generator("cpu").manual_seed(spec.seed_of(index))
        given = (hook.condition(family, spec, prompt, negative) for hook in hooks)
        conditions = next((found for found in given if found is not None), None)
        grade = self._grade(spec)
        work = ImageWork(
            spec=spec,
            index=index,
            seed=spec.seed_of(index),
            width=width,
            height=height,
            sampler=scheduler,
            timesteps=family.schedule(scheduler, spec.steps, width, height),
            generator=generator,
            conditions=conditions or family.conditions(spec, prompt, negative, self._encode),
            grade=grade,
            recipe=receipt(self.card, spec, index, grade, family, prompt, negative)
            | {"pipeline": type(family.pipe).__name__},
            hooks=hooks,
            step_options=family.step_options(scheduler, generator),
        )
        starts = (hook.start(family, work) for hook in hooks)
        latents = next((found for found in starts if found is not None), None)
        if latents is None:
            noise = family.noise(width, height, generator)
            latents = noise * getattr(scheduler, "init_noise_sigma", 1.0)
        work.latents = latents
        work.key = self._key(work)
        return work

    def _grade(self, spec: ImageSpec) -> Grade:
        """What can be promised here: *exact* only where every layer was made so."""
        if spec.grade is None or spec.grade is self.grade:
            return self.grade
        return Grade.STRICT if spec.grade is Grade.EXACT else spec.grade

    def _key(self, work: ImageWork) -> str:
        """Who may share a pass with this work; a repeated or strict one is alone."""
        spec = work.spec
        tags = ",".join(hook.tag for hook in work.hooks if hook.tag)
        work.shape = key = f"image:{spec.model}:{self.family.key(work)}:{tags}"
        repeats = spec.bucket is not None or bool(spec.buckets)
        # Strict pictures must not depend on how far the compiler is, and repeated ones are drawn
        # as they were.
        allowed = spec.compiled if repeats else spec.compiled is not False
        if self.compiled is not None and allowed and work.grade is Grade.REPLAY and not tags:
            work.compiled = self.compiled.ready(work.shape)
        if work.compiled:
            key += ":compiled"
        return f"{key}:{next(_serial)}" if work.grade is Grade.STRICT or repeats else key

    def _encode(self, text: str) -> Condition:
        found = self._embeddings.get(text)
        if found is None:
            found = self.family.encode(text)
            self._embeddings.put(text, found)
        return found

    # ---- step ------------------------------------------------------------------------------

    def forward(self, works: Sequence[ImageWork]) -> list[Pass]:
        """The denoiser for all works at once: each gets the outputs of its rows.

        A work past its last step has a key of its own and gets its decoded picture instead.
        """
        if works[0].step == works[0].steps:
            return [Pass([self.family.decode(work)], 1) for work in works]
        for hook in works[0].hooks:
            hook.activate(self.family)
        parts = [self._rows(work) for work in works]
        if works[0].compiled:
            return self._compiled_pass(works, parts)
        if self.compiled is not None and not any(hook.tag for hook in works[0].hooks):
            self.compiled.want(works[0].shape, parts[0], len(parts[0]))
        rows = [row for part in parts for row in part]
        bucket = max(len(rows), self._wanted(works[0]))
        # A repeated run fills its pass up as neighbours did then; what they are does not matter.
        rows += [rows[0]] * (bucket - len(rows))
        outs = iter(self._share(rows, tuple(hook.tag for hook in works[0].hooks)))
        return [Pass([next(outs) for _ in part], bucket) for part in parts]

    def _compiled_pass(
        self, works: Sequence[ImageWork], parts: Sequence[Sequence[Row]]
    ) -> list[Pass]:
        """As :meth:`forward`, by compiled code: in passes of as many rows as there is code for."""
        assert self.compiled is not None
        found: list[Pass] = []
        while len(found) < len(parts):
            group = len(found)
            rows: list[Row] = []
            while group < len(parts) and (not rows or len(rows) + len(parts[group]) <= BUCKETS[-1]):
                rows += parts[group]
                group += 1
            bucket = bucket_of(max(len(rows), self._wanted(works[len(found)])))
            filled = rows + [rows[0]] * (bucket - len(rows))
            outs, whole = self.compiled.run(works[0].shape, filled)
            given = iter(outs)
            found += [
                Pass([next(given) for _ in part], bucket, whole)
                for part in parts[len(found) : group]
            ]
        return found

    def _rows(self, work: ImageWork) -> Sequence[Row]:
        rows: Sequence[Row] = self.family.rows(work)
        for hook in work.hooks:
            rows = hook.rows(self.family, work, rows)
        return rows

    @staticmethod
    def _wanted(work: ImageWork) -> int:
        """Rows of the pass that the spec asks to repeat; 0 when it asks for nothing."""
        spec = work.spec
        return spec.buckets[work.step] if work.step < len(spec.buckets) else spec.bucket or 0

    def _share(self, rows: Sequence[Row], tags: tuple[str, ...]) -> list[Tensor]:
        """All rows of a pass, sharing it wherever that is known not to change a bit.

        In the exact grade the first pass of each combination of shapes is run both ways and
        compared, because kernels differ between machines: exactness is checked, not assumed.
        """
        family = self.family
        if not family.exact or len(rows) == 1:
            return family.denoise(rows)
        shape = (tags, *(family.shape(row) for row in rows))
        known = self._shareable.get(shape)
        if known is None:
            if len(self._shareable) >= _SHAPES:
                self._shareable.clear()
            outs, self._shareable[shape] = shared_rows(family.denoise, rows)
            return outs
        if known:
            return family.denoise(rows)
        return [out for row in rows for out in family.denoise([row])]

    def advance(self, work: ImageWork, result: Pass) -> Stepped:
        """Guidance and the sampler's step for one work, or its finished picture.

        Raises :class:`worker.engine.errors.BadPicture` for a picture not worth delivering.
        """
        if work.step == work.steps:
            return Stepped([self._finish(work, result.outs[0])], done=True)
        family = self.family
        noise = family.guide(work, result.outs)
        out = work.sampler.step(noise, work.moment, work.latents, **work.step_options)
        # The guess of the clean picture shows far more than what is still half noise.
        guess = family.guess(work, noise, out)
        work.latents = out.prev_sample
        work.step += 1
        work.buckets.append(result.bucket)
        work.compiled_steps += result.compiled
        for hook in work.hooks:
            hook.after_step(family, work)
        if work.step == work.steps:
            # Decoding is a turn of its own: others step in between, and Cancel still takes effect.
            work.key = f"decode:{next(_serial)}"
        return Stepped([self._progress(work, guess)])

    def _progress(self, work: ImageWork, guess: Tensor) -> Progress:
        every = max(1, -(-work.steps // PREVIEWS))
        due = work.step % every == 0 and work.step < work.steps
        cells = self.family.cells(guess, work.width, work.height) if due else None
        preview = None if cells is None else self._preview(cells)
        return Progress(work.index, work.step, work.steps, preview)

    def _finish(self, work: ImageWork, decoded: Tensor) -> Picture:
        image = pixels.finished(decoded)
        image = pixels.crop_centre(image, work.spec.width, work.spec.height)
        for hook in work.hooks:
            image = hook.finish(self.family, work, image)
        sha256 = pixels.digest(image)
        recipe = {**work.recipe, "sha256": sha256}
        if self.compiled is not None and work.compiled:
            recipe |= {"compiler": self.compiled.backend, "compiled_steps": work.compiled_steps}
            recipe["compiled"] = work.compiled_steps == work.steps
        if work.grade is Grade.REPLAY:
            same = len(set(work.buckets)) == 1
            recipe |= {"bucket": work.buckets[0]} if same else {"buckets": work.buckets}
        return Picture(work.index, image, work.seed, recipe, sha256)

    def drop(self, work: ImageWork) -> None:
        """Nothing to free: a work is plain tensors."""

    def move(self, device: str) -> None:
        """To RAM and back, between pictures."""
        with self.compiled.still() if self.compiled is not None else nullcontext():
            self.family.pipe.to(device)
            if self._beside is not None:
                self._beside(device)

    def warm(self) -> None:
        """One guided step and a decode at the card's own size."""
        card = self.card
        spec = ImageSpec(
            model=card.name, prompt="warm", width=card.width, height=card.height, steps=1,
            guidance=card.guidance, scheduler=card.scheduler, seed=0,
        )  # fmt: skip
        work = self.begin(spec, 0)
        self.advance(work, self.forward([work])[0])
        self.forward([work])
