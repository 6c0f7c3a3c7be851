"""Answers by tokens, many at a time: one pass of the model writes a token for each of them.

Our own batched loop, not transformers' continuous batching. That has one seed for everybody (and
reseeds torch globally when made), owns the thread the pictures step on, gives a cancelled request
no end, and schedules first come first served (PERFORMANCE.md 1.2). Here a token is a step like
any other for the scheduler, each answer has its own generator, and its bits do not depend on its
neighbours (:mod:`worker.engine.runners.lanes`, :mod:`worker.engine.runners.bands`). What both
reach in tokens per second is measured by the bench, side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from storage.registry import ModelCard
from storage.schema import ChatSpec
from worker.engine.runners.bands import MOST_LANES, Band, Bands, fixed, measure
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped
from worker.engine.runners.lanes import NAME, Lane, Prefixes, Rows, Unshareable
from worker.engine.runners.speaker import ChatWork, Speaker, next_token, refuse_pictures
from worker.engine.runners.text import Detokenizer, fit
from worker.engine.stops import Stop

log = logging.getLogger(__name__)

CHUNK = {"cpu": 64, "cuda": 512}
"""Prompt tokens of one answer read in one step: a long conversation stalls nobody, and the grid
on which prompt beginnings are reused."""
PREFIX_BYTES = {"cpu": 256_000_000, "cuda": 1_000_000_000}
"""Memory for keys and values of prompt beginnings."""


class ChatRunner(Speaker):
    """Steps answers of one causal language model; see :class:`worker.engine.runners.base`.

    ``model`` is taken over: its attention is replaced. Raises ``Unshareable`` for a model whose
    attention cannot be split into lanes; :class:`worker.engine.runners.solo.SoloRunner` takes it.
    """

    shares = True

    def __init__(self, card: ModelCard, model: Any, tokenizer: Any, device: str) -> None:
        super().__init__(card, model, tokenizer, device)
        self.chunk = CHUNK.get(device, 64)
        self.prefixes = Prefixes(self.chunk, PREFIX_BYTES.get(device, 0))
        self._take_over()
        self.bands = self._bands()

    def _take_over(self) -> None:
        config = self.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds <= {"full_attention", "sliding_attention"}:
            raise Unshareable(", ".join(sorted(kinds)))
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation(NAME)
        try:
            self._pass([(self._lane(4), [0, 0], 0)], Band(2, 2))
        except Exception:
            self.model.set_attn_implementation(before)
            raise

    def _bands(self) -> Bands:
        """Measured, then proved on the network as a whole; alone when it does not hold."""
        if self.device != "cpu":
            return fixed(MOST_LANES, self.chunk)
        bands = measure(self.model.modules(), self.model.get_output_embeddings())
        return bands if self._proved(bands) else Bands(Band(1, 1), Band(1, 1))

    def _proved(self, bands: Bands) -> bool:
        """Whether several answers in one pass get the bits each gets alone."""
        drawn = torch.Generator().manual_seed(0)
        words = len(self.tokenizer)
        prompts = [
            torch.randint(words, (n,), generator=drawn).tolist() for n in (3, 17, self.chunk)
        ]

        def run(group: Sequence[list[int]]) -> list[Tensor]:
            lanes = [self._lane(len(ids) + 1) for ids in group]
            first = self._pass(
                [(lane, ids, 0) for lane, ids in zip(lanes, group, strict=True)], bands.read
            )
            second = self._pass(
                [(lane, [1], len(ids)) for lane, ids in zip(lanes, group, strict=True)],
                bands.write,
            )
            return [*first, *second]

        if not bands.write.shared:
            return False
        together = run(prompts)
        alone = [run([ids]) for ids in prompts]
        same = all(
            torch.equal(together[i], alone[i][0])
            and torch.equal(together[i + len(prompts)], alone[i][1])
            for i in range(len(prompts))
        )
        if not same:
            log.warning("answers of %s cannot share a pass bit for bit here", self.card.name)
        return same

    def _lane(self, room: int) -> Lane:
        return Lane(room)

    def begin(self, spec: ChatSpec, index: int, pictures: Pictures = NO_PICTURES) -> ChatWork:
        """The answer before its first token; ``index`` is always 0.

        The prompt gets what ``max_tokens`` leaves of the context, but at least half of it. Raises
        ``BadInput('vision_none')`` for a question about pictures.
        """
        refuse_pictures(spec)
        if self.card.shares:
            self.model.to(self.device)  # where it is already, unless the picture model was parked
        limit = min(spec.max_tokens, self.context // 2)
        ids = fit(self.tokenizer, spec.turns, self.context - limit)
        work = ChatWork(
            spec=spec,
            key=f"chat:{spec.model}",
            ids=ids,
            prompt=len(ids),
            limit=limit,
            chunk=self.chunk,
            cache=self._lane(len(ids) + limit),
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            detokenizer=Detokenizer(self.tokenizer),
            stop=Stop(spec.stop),
        )
        self._reuse(work)
        return work

    def _reuse(self, work: ChatWork) -> None:
        """Skips what was read before, but for the last token: its scores are wanted."""
        while work.read + self.chunk < work.prompt:
            name = self.prefixes.name(work.name, self._chunk_at(work, work.read))
            piece = self.prefixes.get(name)
            if piece is None:
                return
            work.cache.paste(work.read, piece)
            work.read += self.chunk
            work.name = name

    def _chunk_at(self, work: ChatWork, at: int) -> list[int]:
        return work.ids[at : at + self.chunk]

    def forward(self, works: Sequence[ChatWork]) -> list[Tensor]:
        """For each work the scores ``[vocabulary]`` after the tokens read in this step."""
        found: dict[int, Tensor] = {}
        readers = [i for i, work in enumerate(works) if work.reading]
        writers = [i for i, work in enumerate(works) if not work.reading]
        for band, indices in ((self.bands.write, writers), (self.bands.read, readers)):
            for group in _groups(indices, [w.weight for w in works], band.most):
                pieces = [
                    (w.cache, w.ids[w.read : w.read + w.weight], w.read)
                    for w in (works[i] for i in group)
                ]
                found |= dict(zip(group, self._pass(pieces, band), strict=True))
        return [found[i] for i in range(len(works))]

    def _pass(self, pieces: Sequence[tuple[Lane, list[int], int]], band: Band) -> list[Tensor]:
        """One call of the model for ``(lane, tokens, position)`` of several answers."""
        ids: list[int] = []
        places: list[int] = []
        rows: list[Rows] = []
        for lane, tokens, at in pieces:
            rows.append(Rows(lane, len(ids), len(ids) + len(tokens), at))
            ids += tokens
            places += range(at, at + len(tokens))
        missing = band.padded(len(ids)) - len(ids)
        ids += [0] * missing
        places += [0] * missing
        # The last layer makes a score for every word: only where one is wanted, in the band of
        # writing, so that the first token of an answer has the same bits in any company.
        last = [r.stop - 1 for r in rows]
        least = self.bands.write.least if hasattr(self, "bands") else 2
        out = self.model(
            input_ids=torch.tensor([ids], device=self.device),
            position_ids=torch.tensor([places], device=self.device),
            use_cache=False,
            logits_to_keep=torch.tensor(
                last + [last[-1]] * max(0, least - len(last)), device=self.device
            ),
            lanes=rows,
        )
        scores: Tensor = out.logits[0, : len(last)].float().cpu()
        return list(scores)

    def advance(self, work: ChatWork, result: Tensor) -> Stepped:
        """The next token of one work, or nothing yet while its prompt is still being read."""
        began, work.read = work.read, work.read + work.weight
        if began < work.prompt and work.read - began == self.chunk and not began % self.chunk:
            work.name = self.prefixes.name(work.name, self._chunk_at(work, began))
            if self.prefixes.get(work.name) is None:
                self.prefixes.put(work.name, work.cache.cut(began, work.read))
        if work.reading:
            self._reuse(work)
            return Stepped()
        return next_token(work, result, self.ends, self._answer)


def _groups(indices: Sequence[int], weights: Sequence[int], most: int) -> Iterator[list[int]]:
    """Splits works into groups of at most ``most`` rows; one that is larger goes alone."""
    group: list[int] = []
    rows = 0
    for i in indices:
        if group and rows + weights[i] > most:
            yield group
            group, rows = [], 0
        group.append(i)
        rows += weights[i]
    if group:
        yield group
