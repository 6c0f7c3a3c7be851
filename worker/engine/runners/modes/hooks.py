"""From a spec to its hooks: the one place where modes are put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.errors import BadInput
from storage.registry import Registry
from storage.schema import ImageSpec, Mode
from worker.engine.runners.base import Pictures
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.flux2 import Flux2Klein
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.modes.adapters import AdapterHook, Adapters
from worker.engine.runners.modes.control import ControlHook, Controls
from worker.engine.runners.modes.references import ReferencesHook
from worker.engine.runners.modes.start import start_hooks
from worker.engine.runners.modes.words import Reader, WordsHook
from worker.engine.runners.work import Hook

_SWITCHED: tuple[str, ...] = ("lora", "embedding", "reference")
"""Adapters that change the network or its words; the others stand beside it."""
_ELSEWHERE: tuple[str, ...] = ("lora",)
"""Those that models other than UNets take."""


class Modes:
    """The hooks of every picture of one loaded model.

    ``folder`` holds the adapters' files. Raises ``ModelUnavailable`` when a listed textual
    inversion is not what was listed.
    """

    def __init__(self, family: Family, registry: Registry, model: str, folder: Path) -> None:
        self._reader = Reader(family)
        self._adapters: Adapters | None = None
        self._controls: Controls | None = None
        kinds = _ELSEWHERE
        if isinstance(family, UNetFamily):
            self._controls = Controls(family, registry, model, folder)
            kinds = _SWITCHED
        if any(a.fits(model) and a.kind in kinds for a in registry.adapters.values()):
            self._adapters = Adapters(family, registry, model, folder)

    def move(self, device: str) -> None:
        """What was loaded beside the pipeline goes where it goes: a parked model (``"cpu"``) must
        leave nothing on the device."""
        if self._controls is not None:
            self._controls.move(device)
        if self._adapters is not None:
            self._adapters.move(device)

    def hooks(
        self, spec: ImageSpec, index: int, family: Family, pictures: Pictures
    ) -> Sequence[Hook]:
        """What picture ``index`` of a spec needs; none for plain text to image.

        Raises ``BadInput`` for what this model cannot do, ``ModelUnavailable`` for a file that is
        missing.
        """
        hooks: list[Hook] = []
        network = ""
        refers = isinstance(family, Flux2Klein) or (
            self._adapters is not None and isinstance(family, UNetFamily)
        )
        if (spec.adapters and self._adapters is None) or (spec.references and not refers):
            raise BadInput("mode_unfit", model=spec.model)
        if self._adapters is not None:
            switched = AdapterHook(self._adapters, spec, pictures)
            network = switched.network
            hooks.append(switched)
        hooks.append(WordsHook(self._reader, network))
        if spec.control is not None:
            if self._controls is None:
                raise BadInput("control_absent", control=str(spec.control.kind))
            hooks.append(ControlHook(self._controls, spec.control, pictures))
        if isinstance(family, Flux2Klein) and (spec.references or spec.mode is not Mode.TEXT):
            hooks.append(ReferencesHook(family, spec, pictures))
        # Last, since the first hook that says where to begin ends the asking.
        return [*hooks, *start_hooks(spec, family, pictures)]
