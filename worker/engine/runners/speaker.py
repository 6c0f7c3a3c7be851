"""What every runner of answers holds and does, however it makes its tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from storage.errors import BadInput
from storage.registry import ModelCard
from storage.schema import ChatSpec, JobKind, Turn
from worker.engine.outputs import Answer, Output, Text
from worker.engine.runners.base import NO_PICTURES, Pictures, Stepped, weigh
from worker.engine.runners.sampling import TOP_P, choose, penalise
from worker.engine.runners.text import Detokenizer
from worker.engine.stops import Stop


@dataclass
class ChatWork:
    """One answer in the making. ``ids`` is prompt and answer so far, ``read`` what is cached."""

    spec: ChatSpec
    key: str
    ids: list[int]
    prompt: int
    limit: int
    chunk: int
    cache: Any
    generator: torch.Generator
    detokenizer: Detokenizer
    stop: Stop
    text: str = ""
    read: int = 0
    pictures: Any = None
    """What a vision model's processor made of the pictures."""
    deltas: Any = None
    """Where the positions of a vision model stand after its pictures."""
    name: bytes = b""
    """Of the chunk that ends at ``read``, while the prompt is being read."""
    torn: bool = False
    """A pass of it has begun and not ended: its cache cannot be trusted."""
    read_again: bool = False
    """Its cache is fresh: the next pass reads everything up to its end."""

    @property
    def weight(self) -> int:
        """Tokens of its next pass."""
        return min(self.chunk, len(self.ids) - self.read)

    @property
    def left(self) -> int:
        """Tokens it may still make."""
        return self.limit - self.made

    @property
    def made(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - self.prompt

    @property
    def reading(self) -> bool:
        """Whether its prompt is still being read."""
        return self.read < self.prompt


class Speaker(ABC):
    """One causal language model, its tokenizer and its device."""

    kind = JobKind.CHAT

    def __init__(self, card: ModelCard, model: Any, tokenizer: Any, device: str) -> None:
        self.card = card
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.ends = end_tokens(model, tokenizer)
        self.context = context_of(card, model)
        # Shared bytes are counted once, with the picture model.
        self.size = 0 if card.shares else weigh(model)

    @abstractmethod
    def begin(self, spec: ChatSpec, index: int, pictures: Pictures = NO_PICTURES) -> ChatWork:
        """The answer before its first token; ``index`` is always 0."""

    @abstractmethod
    def forward(self, works: Sequence[ChatWork]) -> list[Tensor]:
        """For each work the scores ``[vocabulary]`` after the tokens read in this step."""

    @abstractmethod
    def advance(self, work: ChatWork, result: Tensor) -> Stepped:
        """The next token of one work, or nothing yet while its prompt is still being read."""

    def _answer(self, work: ChatWork, finish: str) -> Answer:
        recipe = recipe_of(self.card, self.model, self.device, work, finish)
        return Answer(work.text, work.prompt, work.made, recipe)

    def drop(self, work: ChatWork) -> None:
        """Frees the keys and values of an answer that ended."""
        work.cache = None

    def move(self, device: str) -> None:
        """To RAM (``"cpu"``) while parked, and back to its own device.

        Shared weights are the picture model's to move: they would leave under its feet.
        """
        if not self.card.shares:
            self.model.to(device)

    def warm(self) -> None:
        """One prompt read and one token made."""
        turn = Turn(role="user", text="Hello")
        spec = ChatSpec(
            model=self.card.name, thread="", turns=(turn,), max_tokens=1, temperature=0, seed=0
        )
        work = self.begin(spec, 0)
        while not self.advance(work, self.forward([work])[0]).done:
            pass


def refuse_pictures(spec: ChatSpec) -> None:
    """For models of words alone. Raises ``BadInput('vision_none')`` for a question about pictures.

    The bot sends those to a model that reads them; its registry may be another than ours.
    """
    if spec.images:
        raise BadInput("vision_none")


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None}


def context_of(card: ModelCard, model: Any) -> int:
    """Tokens of prompt and answer together: the card's, within what the model has learned."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(card.context_tokens, int(limit or card.context_tokens))


def next_token(work: ChatWork, scores: Tensor, ends: set[int], answer: Any) -> Stepped:
    """Draws a token and what it adds to the text; ends at an end mark, a stop string, a limit."""
    spec = work.spec
    token = choose(
        penalise(scores, work.ids, spec.repetition_penalty), spec.temperature, work.generator
    )
    work.ids.append(token)
    ended = token in ends
    piece = work.stop.push("" if ended else work.detokenizer.push(token))
    full = work.made >= work.limit
    if (ended or full) and not work.stop.hit:
        piece += work.stop.push(work.detokenizer.close())
    stopped = work.stop.hit
    done = ended or full or stopped
    if done and not stopped:
        piece += work.stop.close()
    work.text += piece
    outputs: list[Output] = [Text(piece)] if piece else []
    if done:
        outputs.append(answer(work, "stop" if stopped else "end" if ended else "length"))
    return Stepped(outputs, done)


def recipe_of(
    card: ModelCard, model: Any, device: str, work: ChatWork, finish: str
) -> dict[str, Any]:
    """Everything needed to make the same answer again."""
    spec = work.spec
    return {
        "kind": str(spec.kind),
        "model": spec.model,
        "revision": card.revision,
        **({} if card.precision == "full" else {"precision": card.precision}),
        "turns": [turn.model_dump() for turn in spec.turns],
        "max_tokens": spec.max_tokens,
        "temperature": spec.temperature,
        "top_p": TOP_P,
        "repetition_penalty": spec.repetition_penalty,
        "stop": list(spec.stop),
        "seed": spec.seed,
        "finish": finish,
        "grade": "exact" if device == "cpu" else "replay",
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
