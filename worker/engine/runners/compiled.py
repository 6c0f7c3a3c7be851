"""The repeated blocks of a denoiser, compiled while pictures are drawn without them.

Compiling one block serves all its kin, at an eighth to a tenth of the time of compiling the whole
network (diffusers' regional compilation). Nobody waits for it: a pass runs as it always did until
every bucket of its shape is ready, and the engine's thread only ever *uses* compiled code
(``torch._dynamo.run``); what has no code for a shape runs the ordinary way. Compiled code rounds
differently, so a picture is drawn by one of the two ways from its first step to its last, and its
receipt says by which.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from worker.engine.memory import is_shortage
from worker.engine.runners.work import Row

log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8)
"""Rows a compiled pass may have; others are filled up to the next."""
SHAPES = 8
"""Kinds of pass (sizes, lengths of words) compiled for one model; further ones run as before."""
_VARIANTS = 256
"""Versions of one block kept: buckets x shapes x widths, of every model of its architecture."""

_here = threading.local()
"""``mode`` says how this thread calls blocks (absent: plainly); ``hits`` counts compiled calls."""


class Compiled:
    """Compiles a denoiser's blocks in the background and runs passes with them.

    ``denoise`` is the family's one pass, ``backend`` any of ``torch.compile``. What goes wrong
    while compiling is logged once and leaves the model as it was. All methods but the background
    thread's own are called on the engine's (or, before that, the loader's) thread.
    """

    def __init__(
        self,
        name: str,
        denoiser: Any,
        denoise: Callable[[Sequence[Row]], list[Tensor]],
        backend: str = "inductor",
    ) -> None:
        self.backend = backend
        self._name = name
        self._denoise = denoise
        self._ready: set[str] = set()
        self._wanted: set[str] = set()
        self._jobs: deque[tuple[str, list[Row], int, int]] = deque()
        self._state = threading.Lock()
        self._working = False
        self._network = threading.Lock()
        """Held for each compilation, and while the network is moved."""
        self._moves = 0
        self._idle = threading.Event()
        self._idle.set()
        kinds = set(getattr(denoiser, "_repeated_blocks", None) or ())
        blocks = [m for m in denoiser.modules() if type(m).__name__ in kinds]
        self.failed = not blocks
        """Nothing is compiled (any more): a block could not be, or there are none."""
        if not blocks:
            log.info("%s has no repeated blocks to compile", name)
        make = _counting(backend)
        for block in blocks:
            block.forward = _either(block.forward, make)

    def ready(self, key: str) -> bool:
        """Whether pictures of this batch key may be drawn by compiled passes from now on."""
        return not self.failed and key in self._ready

    def want(self, key: str, rows: Sequence[Row], single: int) -> None:
        """An ordinary pass of ``key`` was made: from now on its shape is worth compiling.

        ``rows`` are one picture's, ``single`` of them.
        """
        if self.failed or key in self._wanted or len(self._wanted) >= SHAPES:
            return
        self._wanted.add(key)
        with self._state:
            self._jobs.append((key, list(rows), single, self._moves))
            self._idle.clear()
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="compiler", daemon=True).start()

    def run(self, key: str, rows: Sequence[Row]) -> tuple[list[Tensor], bool]:
        """One pass of a ready key, of as many rows as a bucket has.

        The outputs, and whether compiled code made all of them: a network that was changed since
        (a LoRA was put in) no longer fits its code, and its key is given up.
        """
        with _mode("run") as calls:
            outs = self._denoise(rows)
        whole = calls.hits == calls.made > 0
        if not whole and key in self._ready:
            self._ready.discard(key)
            log.warning("%s: passes %s no longer fit their compiled code", self._name, key)
        return outs, whole

    def wait(self, seconds: float) -> bool:
        """Waits until nothing is being compiled; false when it took longer."""
        return self._idle.wait(seconds)

    @contextmanager
    def still(self) -> Iterator[None]:
        """For moving the network: no compilation runs meanwhile, and one under way is given up."""
        self._moves += 1
        with self._network:
            yield

    # ---- the background thread's side ----------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._state:
                if self.failed:
                    self._jobs.clear()
                if not self._jobs:
                    self._working = False
                    self._idle.set()
                    return
                job = self._jobs.popleft()
            self._compile(*job)

    def _compile(self, key: str, rows: list[Row], single: int, moves: int) -> None:
        """Every bucket of one key, wanted when the network had been moved ``moves`` times.

        The third broad ``except``: compilers raise anything.
        """
        began = time.perf_counter()
        limits = {"recompile_limit": _VARIANTS, "accumulated_recompile_limit": 16 * _VARIANTS}
        try:
            # Settings are per thread: they hold here and nowhere else.
            with torch.inference_mode(), torch._dynamo.config.patch(limits):
                for bucket in [b for b in BUCKETS if b >= single]:
                    filled = (rows * bucket)[:bucket]
                    with self._network, _mode("compile"):
                        self._denoise(filled)
                    with self._network, _mode("run") as calls:
                        self._denoise(filled)
                    if calls.hits != calls.made or not calls.made:
                        raise RuntimeError("compiled code does not fit its own pass")
        except Exception as error:
            if self._moves != moves:
                # It was parked meanwhile: nothing is wrong with its blocks, and its next picture
                # asks again.
                self._wanted.discard(key)
                return
            first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
            log.warning(
                "%s is drawn uncompiled (%s: %s)", self._name, type(error).__name__, first,
            )  # fmt: skip
            # Too little memory for this size says nothing of smaller ones.
            self.failed = self.failed or not is_shortage(error)
            return
        self._ready.add(key)
        seconds = time.perf_counter() - began
        log.info("%s: compiled passes %s in %.1f s", self._name, key, seconds)


def bucket_of(rows: int) -> int:
    """The smallest bucket with room for ``rows`` (1 to the largest bucket)."""
    return next(bucket for bucket in BUCKETS if bucket >= rows)


class _Calls:
    """What happened in a pass: ``made`` calls of blocks, ``hits`` of them by compiled code."""

    made = 0
    hits = 0


@contextmanager
def _mode(mode: str) -> Iterator[_Calls]:
    """How this thread calls blocks for a while."""
    calls = _Calls()
    _here.mode, _here.calls = mode, calls
    try:
        yield calls
    finally:
        _here.mode, _here.calls = "", None


def _either(forward: Callable[..., Any], backend: Callable[..., Any]) -> Callable[..., Any]:
    """A block's call: plain, compiling or compiled, as the calling thread wishes."""
    compiling = torch.compile(forward, backend=backend, fullgraph=True, dynamic=False)
    using = torch._dynamo.run(forward)

    def call(*args: Any, **kwargs: Any) -> Any:
        mode = getattr(_here, "mode", "")
        if not mode:
            return forward(*args, **kwargs)
        _here.calls.made += 1
        return (compiling if mode == "compile" else using)(*args, **kwargs)

    return call


_BACKENDS: dict[str, Callable[..., Any]] = {}
"""One a name: models of one architecture share code, whoever compiled it."""


def _counting(name: str) -> Callable[..., Any]:
    """A backend whose code tells the calling thread that it was used."""

    def backend(graph: Any, inputs: list[Tensor]) -> Callable[..., Any]:
        inner = torch._dynamo.lookup_backend(name)(graph, inputs)

        def counted(*args: Any) -> Any:
            calls = getattr(_here, "calls", None)
            if calls is not None:
                calls.hits += 1
            return inner(*args)

        return counted

    return _BACKENDS.setdefault(name, backend)
