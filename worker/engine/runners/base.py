"""What the engine asks of every runner: begin, one shared pass, then each request's own part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from PIL import Image

from storage.schema import JobKind
from worker.engine.outputs import Output

Pictures = Mapping[str, Image.Image]
"""The pixels of a spec's sources (RGB, or RGBA where they have alpha), by blob key."""
NO_PICTURES: Pictures = MappingProxyType({})


@dataclass(slots=True)
class Stepped:
    """What one request got out of one step; ``done`` after its last."""

    outputs: list[Output] = field(default_factory=list)
    done: bool = False


class Work(Protocol):
    """One begun request, private to its runner but for two numbers."""

    @property
    def key(self) -> str:
        """Requests of equal key may share the next :meth:`Runner.forward`."""

    @property
    def weight(self) -> int:
        """Its part of a shared pass (rows), by which the time is charged."""

    @property
    def left(self) -> int:
        """Steps it still needs at most: requests of unlike length take turns."""


class Runner(Protocol):
    """Runs one loaded model, on the engine thread (loading and warming: before, on another).

    A step is two calls, so that one request's fault stays its own: :meth:`forward` is shared and
    changes nothing that a second call with fewer requests would notice; :meth:`advance` changes
    one request only. Both may raise anything; the engine isolates it.
    """

    kind: JobKind
    shares: bool
    """True when one :meth:`forward` may serve several works; else it is called with one."""
    size: int
    """Bytes of its weights."""

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        """``begin(spec, index, pictures)``: prepares picture ``index`` (or the answer): a
        :class:`Work`. ``pictures`` (:data:`Pictures`) is passed only where the spec has sources;
        a runner that reads none takes them all the same, and refuses with ``BadInput``.
        """

    def forward(self, works: Sequence[Any]) -> list[Any]:
        """One pass of the model for all of ``works`` (equal keys): one result each."""

    def advance(self, work: Any, result: Any) -> Stepped:
        """Applies a result to its request."""

    def drop(self, work: Any) -> None:
        """Lets go of a work that will not be stepped again: done, failed or cancelled. Called once
        for every begun work; frees what it holds, and must not raise."""

    def warm(self) -> None:
        """Runs the model once at its usual size, so that no member pays for first-call set-up.

        Called once after loading, on the loading thread, before anybody else has the runner.
        A runner may also have ``move(device)``: to ``"cpu"`` and back, so that it can be parked
        in RAM instead of being forgotten; called on the loading thread too.
        """


def weigh(*modules: Any) -> int:
    """Bytes of the parameters and buffers of torch modules."""
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return sum(t.numel() * t.element_size() for t in tensors)
