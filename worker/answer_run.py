"""An answer in the making: whole sentences are released after their check, never before."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from moderation.pii import mask
from moderation.pipeline import Content, Surface
from storage import prices
from storage.documents import named
from storage.endings import Ending, Exchange
from storage.jobs import Claim, Made
from storage.schema import (
    ChatSpec,
    Event,
    EventType,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
    harshest,
)
from storage.threads import tokens_of
from worker.engine.errors import Cancelled
from worker.engine.outputs import Answer, Restart, Text
from worker.judging import Bench
from worker.verdicts import rejected, status_of

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

_SENTENCE_END = re.compile(r"[.!?…\n]{1,8}[\"'”’)\]]{0,4}\s|[。！？]")
"""Bounded on purpose: an endless row of dots must not cost more than its length."""


PIECE = 240
"""Characters of an answer that are judged by themselves, so long as sentences allow: the heads read
the beginning of a text, and what comes late in a long answer they would not see in the whole."""


def pieces(text: str) -> list[str]:
    """A text cut between sentences into parts of about :data:`PIECE` characters."""
    found: list[str] = []
    start = last = 0
    for match in _SENTENCE_END.finditer(text):
        if match.end() - start > PIECE and last > start:
            found.append(text[start:last])
            start = last
        last = match.end()
    if len(text) - start > PIECE and last > start:
        found.append(text[start:last])
        start = last
    # What has no sentences, or one that is very long, is cut all the same.
    cut = [
        part[at : at + 2 * PIECE]
        for part in (*found, text[start:])
        for at in range(0, len(part), 2 * PIECE)
    ]
    return [piece for piece in cut if piece.strip()]


async def judge_answer(
    bench: Bench, text: str, asked: str, *, new: int = 0, keep_allowed: bool = True
) -> Verdict:
    """The verdict on an answer: as a whole, since a finding may span sentences, and piece by piece
    from the character ``new`` on, what is before having been judged so already."""
    whole = Content(surface=Surface.ANSWER, text=text, context=(asked,))
    verdict = await bench.judge(whole, keep_allowed=keep_allowed)
    if len(text) <= PIECE:
        return verdict
    parts = [
        bench.judge(
            Content(surface=Surface.ANSWER, text=piece, context=(asked,)), keep_allowed=False
        )
        for piece in pieces(text[new:])
    ]
    return harshest([verdict, *await asyncio.gather(*parts)])


def without_turns(recipe: dict[str, Any]) -> dict[str, Any]:
    """The conversation stays in the job's spec, where deleting a message can reach it."""
    return {key: value for key, value in recipe.items() if key != "turns"}


class Stopped(Cancelled):
    """An answer was stopped; ``ending`` is what it came to until then."""

    def __init__(self, ending: Ending) -> None:
        super().__init__("stopped")
        self.ending = ending


class AnswerRun:
    """Collects one answer: whole sentences are released after their check, never before."""

    def __init__(self, tools: Tools, claim: Claim, spec: ChatSpec, run: Run, bench: Bench) -> None:
        self._tools = tools
        self._claim = claim
        self._spec = spec
        self._run = run
        self._bench = bench
        self._text = ""
        self._released = 0
        self._looked = ""
        """What was judged already, piece by piece."""
        self._seen = 0
        """Characters that somebody may have read."""
        self._verdict = claim.verdict

    async def collect(self) -> Ending:
        """Take every piece of the run and say what it came to."""
        end: Answer | None = None
        try:
            async for output in self._run:
                if isinstance(output, Text):
                    self._text += output.text
                    if not await self._release(final=False):
                        break
                elif isinstance(output, Restart):
                    self._text, self._released = "", 0
                elif isinstance(output, Answer):
                    end = output
        except Cancelled as stop:
            raise Stopped(self._stopped()) from stop
        if end is not None:
            self._text = end.text
            await self._release(final=True)
        else:
            self._run.cancel()
        return self._ending(end)

    def _stopped(self) -> Ending:
        """Stopped by the member: what was read stays and is paid; before that, nothing."""
        text = self._text[: self._released].rstrip()
        if not text or not self._verdict.allowed:
            return Ending(
                status=JobStatus.CANCELLED, verdict=self._verdict, engine_ms=self._run.busy_ms
            )
        self._text = text
        return self._ending(None)

    async def _release(self, *, final: bool) -> bool:
        """Judge and publish what is complete; False when the answer must stop here.

        What is held is still written to its end, unseen, so that a moderator reads all of it.
        """
        upto = len(self._text) if final else self._complete()
        if upto <= self._released and not final:
            return True
        # The whole text so far, since a finding may span sentences.
        part = self._text[:upto]
        if part.strip():
            new = len(self._looked) if part.startswith(self._looked) else 0
            self._verdict |= await judge_answer(
                self._bench, part, self._spec.prompt, new=new, keep_allowed=final
            )
            self._looked = part
        shown = self._verdict.allowed
        if shown:
            self._released = upto
            self._seen = max(self._seen, len(part.strip()))
        await self._tools.wire.publish(
            Event(
                type=EventType.TEXT, job_id=self._claim.job_id,
                # A late finding withdraws what was shown.
                text=mask(part) if shown else "",
            )
        )  # fmt: skip
        return self._verdict.outcome is not Outcome.BLOCK

    def _complete(self) -> int:
        """Length of the text up to the last finished sentence."""
        last = self._released
        for match in _SENTENCE_END.finditer(self._text, self._released):
            last = match.end()
        return last

    def _ending(self, end: Answer | None) -> Ending:
        status = status_of(self._verdict)
        if status is GenerationStatus.BLURRED:
            # A blur veils pictures. For words the taxonomy says label, not hide.
            status = GenerationStatus.VISIBLE
        kept = status is not GenerationStatus.REMOVED
        recipe = without_turns(end.recipe) if end is not None else {"finish": "stopped"}
        if self._spec.documents:
            recipe = {**recipe, "documents": named(self._spec.documents)}
        taken_back = self._seen > 0 and status is not GenerationStatus.VISIBLE
        if taken_back:
            recipe = {**recipe, "withdrawn": True}  # the card says so
        made = Made(
            index=0, status=status, seed=self._spec.seed, recipe=recipe,
            verdict=self._verdict.dump(), text=mask(self._text) if kept else None,
        )  # fmt: skip
        if not kept:
            return rejected(
                self._verdict, (made,), self._bench.policy, engine_ms=self._run.busy_ms,
                code="answer_withdrawn" if taken_back else "output_refused",
            )  # fmt: skip
        card = self._tools.registry.find(self._spec.model, JobKind.CHAT)
        # A stopped answer's tokens are not told: guessed as the quote was, Chinese ones too.
        tokens = end.tokens_out if end is not None else tokens_of(self._text)
        read = end.tokens_in if end is not None else 0
        cost = prices.tokens_price(tokens, read, card, self._claim.rate)
        visible = status is GenerationStatus.VISIBLE
        return Ending(
            status=JobStatus.SUCCEEDED, made=(made,),
            cost=min(cost, self._claim.reserved),
            verdict=self._verdict, engine_ms=self._run.busy_ms,
            units=tokens if end is not None else 0,
            exchange=Exchange(self._spec.thread, mask(self._spec.prompt), mask(self._text))
            if visible
            else None,
        )  # fmt: skip
