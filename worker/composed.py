"""Answers that are put together before anybody sees them: scenes, directions, data, tools.

They are not streamed: half a scene or half a JSON object helps nobody. The engine may be asked
several times for one job; every part that remains is judged by itself.
"""

from __future__ import annotations

from typing import Any

from moderation.pii import mask
from storage import prices
from storage.documents import named
from storage.endings import Ending, Exchange
from storage.jobs import Made
from storage.scene import PARTS, directions_of, scene_of
from storage.schema import (
    ChatSpec,
    GenerationStatus,
    JobKind,
    JobStatus,
    Turn,
    Verdict,
    harshest,
)
from storage.templates import template
from worker import calling, structured
from worker.answer_run import AnswerRun, Stopped, judge_answer, without_turns
from worker.engine.errors import Cancelled
from worker.engine.outputs import Answer
from worker.verdicts import failed, rejected, status_of
from worker.writing import COMPOSED, ask, dressed, english

ROUNDS = 4
"""Most times the engine is asked for one job: tool calls, and one repair."""


def is_composed(spec: ChatSpec) -> bool:
    """Whether an answer is put together before it is shown."""
    return spec.template in COMPOSED or bool(spec.tools) or spec.output_schema is not None


class ComposedRun(AnswerRun):
    """Collects such an answer; see :class:`worker.answer_run.AnswerRun`."""

    async def collect(self) -> Ending:
        """Take the whole answer, go on asking while it calls tools or fails its schema."""
        try:
            end = await self._whole()
            notes: dict[str, Any] = {}
            if self._spec.documents:
                notes = {"documents": named(self._spec.documents)}
            if self._spec.tools:
                end, notes = await self._with_tools(end)
            if self._spec.output_schema is not None:
                data, notes = await self._as_data(end, notes)
                if data is None:
                    return failed("answer_unreadable", self._run)
                end = data
        except Cancelled as stop:
            empty = Ending(
                status=JobStatus.CANCELLED, verdict=self._verdict, engine_ms=self._run.busy_ms
            )
            raise Stopped(empty) from stop
        return await self._close(end, self._parts(end, notes))

    async def _whole(self) -> Answer:
        end: Answer | None = None
        async for output in self._run:
            if isinstance(output, Answer):
                end = output
        if end is None:
            raise Cancelled("the run was cancelled")
        return end

    async def _again(self, number: int, turns: tuple[Turn, ...], before: Answer) -> Answer:
        """The engine once more, with what was said so far; tokens add up."""
        spec = dressed(self._spec, self._tools.registry).model_copy(update={"turns": turns})
        end = await ask(self._tools, self._run, f"{self._claim.job_id}:{number}", spec)
        return Answer(
            end.text, before.tokens_in + end.tokens_in, before.tokens_out + end.tokens_out,
            end.recipe,
        )  # fmt: skip

    async def _with_tools(self, end: Answer) -> tuple[Answer, dict[str, Any]]:
        turns = dressed(self._spec, self._tools.registry).turns
        used: list[str] = []
        sources = list(self._spec.documents)
        for number in range(1, ROUNDS):
            call = calling.parse_call(end.text)
            if call is None:
                break
            said = await calling.run_call(
                call, self._spec, self._tools, self._claim.workspace_id, self._claim.member_id
            )
            used.append(call.name)
            sources += said.sources
            turns = (*turns, Turn(role="assistant", text=end.text), said.turn)
            end = await self._again(number, turns, end)
        else:
            if calling.parse_call(end.text) is not None:
                end = Answer("", end.tokens_in, end.tokens_out, end.recipe)
        notes: dict[str, Any] = {"tools": used} if used else {}
        return end, notes | ({"documents": named(sources)} if sources else {})

    async def _as_data(
        self, end: Answer, notes: dict[str, Any]
    ) -> tuple[Answer | None, dict[str, Any]]:
        """The answer as an object of the schema; asked to mend it once."""
        schema = self._spec.output_schema or {}
        found, problem = structured.read(end.text, schema)
        if problem:
            turns = (
                *dressed(self._spec, self._tools.registry).turns,
                Turn(role="assistant", text=end.text),
                Turn(role="user", text=structured.mend(problem)),
            )
            end = await self._again(ROUNDS, turns, end)
            found, problem = structured.read(end.text, schema)
            notes = notes | {"repaired": True}
        if problem:
            return None, notes
        text = structured.show(found)
        return Answer(text, end.tokens_in, end.tokens_out, end.recipe), notes | {"data": found}

    def _parts(self, end: Answer, notes: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The texts that become generations, each with what its recipe adds."""
        registry = self._tools.registry
        card = registry.find(self._spec.model, JobKind.CHAT)
        idea, unknown = english(card, self._spec.prompt)
        if self._spec.template:
            notes = notes | {
                "template": self._spec.template, "template_mark": template(self._spec.template).mark
            }  # fmt: skip
        if unknown:
            notes = notes | {"unknown": "".join(unknown)}
        if self._spec.template == "enhance":
            scene = scene_of(idea, end.text)
            parts = {part: mask(getattr(scene, part)) for part in PARTS}
            by = {"written_by": scene.by, "mended": list(scene.mended), "scene": parts}
            return [(scene.prompt, notes | by)]
        if self._spec.template == "brainstorm":
            return [
                (found.prompt, notes | {"title": mask(found.title), "written_by": found.by})
                for found in directions_of(idea, end.text)
            ]
        return [(end.text, notes)]

    async def _close(self, end: Answer, parts: list[tuple[str, dict[str, Any]]]) -> Ending:
        """Judge every part, keep what may be kept."""
        recipe = without_turns(end.recipe)
        made: list[Made] = []
        verdicts: list[Verdict] = []
        for index, (text, notes) in enumerate(parts):
            said = " ".join((str(notes.get("title", "")), text)).strip()
            verdict = self._claim.verdict
            if said:
                verdict |= await judge_answer(self._bench, said, self._spec.prompt)
            verdicts.append(verdict)
            status = status_of(verdict)
            if status is GenerationStatus.BLURRED:
                status = GenerationStatus.VISIBLE  # words are never blurred
            kept = status is not GenerationStatus.REMOVED
            made.append(
                Made(
                    index=index, status=status, seed=self._spec.seed,
                    recipe={**recipe, **notes} if kept else recipe, verdict=verdict.dump(),
                    text=mask(text) if kept else None,
                )
            )  # fmt: skip
        self._verdict = harshest(verdicts)
        shown = [item for item in made if item.status is GenerationStatus.VISIBLE]
        if all(item.status is GenerationStatus.REMOVED for item in made):
            return rejected(
                self._verdict, tuple(made), self._bench.policy, engine_ms=self._run.busy_ms
            )
        card = self._tools.registry.find(self._spec.model, JobKind.CHAT)
        spoken = "\n".join(
            f"{item.index + 1}. {item.recipe['title']}: {item.text}"
            if "title" in item.recipe
            else item.text or ""
            for item in shown
        )
        remembered = bool(shown and self._spec.thread)
        cost = prices.tokens_price(end.tokens_out, end.tokens_in, card, self._claim.rate)
        return Ending(
            status=JobStatus.SUCCEEDED, made=tuple(made),
            cost=min(cost, self._claim.reserved),
            verdict=self._verdict, engine_ms=self._run.busy_ms, units=end.tokens_out,
            exchange=Exchange(self._spec.thread, mask(self._spec.prompt), mask(spoken))
            if remembered
            else None,
        )  # fmt: skip
