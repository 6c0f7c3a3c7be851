"""Words around what a member wrote: templates before the chat model, prompts before a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moderation.pipeline import Content, Surface
from storage import lexicon
from storage.errors import AtelierError
from storage.jobs import Claim
from storage.registry import ModelCard, Registry
from storage.scene import scene_of
from storage.schema import AnySpec, ChatSpec, ImageSpec, JobKind, Outcome, Turn
from storage.templates import template
from worker.calling import explain
from worker.engine.errors import Cancelled, EngineStopped
from worker.engine.outputs import Answer
from worker.judging import Bench
from worker.lookup import quoted

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

COMPOSED = frozenset({"enhance", "brainstorm"})
"""Templates whose answer is read and put together before anybody sees it."""
_SHORT = 40
"""A picture model that reads fewer tokens than this is told the subject only: more words would
push it out."""


@dataclass
class Written:
    """A picture prompt as the model reads it, and what its recipe says about it."""

    prompt: str
    notes: dict[str, Any] = field(default_factory=dict)


def reads(card: ModelCard, prompt: str) -> bool:
    """Whether a model reads the language of a prompt."""
    return "zh" in card.languages or not lexicon.is_chinese(prompt)


def needs_writing(spec: AnySpec, registry: Registry) -> bool:
    """Whether a picture's prompt has to be written before the engine may begin it."""
    if not isinstance(spec, ImageSpec):
        return False
    card = registry.cards.get(spec.model)
    return spec.enhance or (card is not None and not reads(card, spec.prompt))


def english(card: ModelCard, prompt: str) -> tuple[str, tuple[str, ...]]:
    """An idea as the chat model gets it, and the characters nobody knew.

    A model that reads Chinese gets it as it is; for another the words are looked up.
    """
    if reads(card, prompt):
        return prompt, ()
    found = lexicon.translate(prompt)
    return (found.text if found.usable else prompt), found.unknown


def dressed(spec: ChatSpec, registry: Registry) -> ChatSpec:
    """An answer job as the engine gets it: its template applied to the member's own words.

    Raises ``NotFound`` for a template or model that is not there any more.
    """
    if spec.tools:
        spec = _with_tools(spec)
    if not spec.template:
        return quoted(spec)
    idea = spec.prompt
    if spec.template in COMPOSED:
        idea, _ = english(registry.find(spec.model, JobKind.CHAT), idea)
    turns = template(spec.template).turns(idea, spec.turns[:-1])
    # After the template, whose own system words replace the persona's.
    return quoted(spec.model_copy(update={"turns": turns}))


def _with_tools(spec: ChatSpec) -> ChatSpec:
    """The same with the tools explained at the end of the persona."""
    told = explain(spec.tools)
    first, *rest = spec.turns
    if first.role == "system":
        turns = (Turn(role="system", text=f"{first.text}\n\n{told}"), *rest)
    else:
        turns = (Turn(role="system", text=told), *spec.turns)
    return spec.model_copy(update={"turns": turns})


async def ask(tools: Tools, run: Run, name: str, spec: ChatSpec) -> Answer:
    """One more answer of the engine on behalf of ``run``: charged to it, stopped with it.

    Raises what the engine raises.
    """
    inner = tools.engine.submit(name, spec)
    run.joined(inner)
    end: Answer | None = None
    async for output in inner:
        if isinstance(output, Answer):
            end = output
    if end is None:
        raise Cancelled("the run was cancelled")
    return end


async def write_prompt(tools: Tools, claim: Claim, run: Run, bench: Bench) -> Written:
    """The prompt a picture is drawn from. What is not clean is not used: then the member's own
    words go, which were judged already.
    """
    spec = claim.spec
    assert isinstance(spec, ImageSpec)
    card = tools.registry.find(spec.model, JobKind.IMAGE)
    chat = tools.registry.default(JobKind.CHAT)
    idea, notes = spec.prompt, {"asked": spec.prompt}
    if not reads(card, idea):
        idea, by, unknown = await _translated(tools, claim, run, chat)
        notes |= {"written_by": by, "unknown": "".join(unknown)}
    text = idea
    if spec.enhance:
        if card.prompt_tokens < _SHORT:
            notes.setdefault("written_by", "short")
        else:
            text, by = await _enhanced(tools, claim, run, chat, idea)
            notes["written_by"] = by
    if text == spec.prompt:
        return Written(spec.prompt, notes if spec.enhance else {})
    content = Content(surface=Surface.PROMPT, text=text, context=(spec.prompt,))
    if (await bench.judge(content)).outcome is not Outcome.ALLOW:
        return Written(spec.prompt, {"asked": spec.prompt, "written_by": "refused"})
    return Written(text, notes)


def _wish(chat: ModelCard, name: str, prompt: str, seed: int, before: tuple[Turn, ...]) -> ChatSpec:
    used = template(name)
    return ChatSpec(
        model=chat.name, thread="", turns=used.turns(prompt, before),
        max_tokens=min(used.max_tokens or chat.max_tokens, chat.context_tokens // 2),
        temperature=used.temperature or 0.0, seed=seed, stop=used.stop,
    )  # fmt: skip


async def _translated(
    tools: Tools, claim: Claim, run: Run, chat: ModelCard
) -> tuple[str, str, tuple[str, ...]]:
    """The prompt in English, who translated it, and what was not understood."""
    spec = claim.spec
    found = lexicon.translate(spec.prompt)
    if "zh" in chat.languages and isinstance(spec, ImageSpec):
        try:
            wish = _wish(chat, "translate", spec.prompt, spec.seed, ())
            text = (await ask(tools, run, f"{claim.job_id}:zh", wish)).text.strip()
            if text and not lexicon.is_chinese(text):
                return text[:1000], "model", ()
        except (Cancelled, EngineStopped):
            raise
        except AtelierError:
            pass  # a chat server away is no reason for no picture: the list knows many words
    if not found.text:
        return spec.prompt, "lexicon", found.unknown
    return found.text, "lexicon", found.unknown


async def _enhanced(
    tools: Tools, claim: Claim, run: Run, chat: ModelCard, idea: str
) -> tuple[str, str]:
    spec = claim.spec
    assert isinstance(spec, ImageSpec)
    try:
        wish = _wish(chat, "enhance", idea, spec.seed, ())
        text = (await ask(tools, run, f"{claim.job_id}:enhance", wish)).text
    except (Cancelled, EngineStopped):
        raise
    except AtelierError:
        text = ""  # the rules alone, and it is said
    scene = scene_of(idea, text)
    return scene.prompt, scene.by
