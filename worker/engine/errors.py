"""How a run can end badly, each error named by who acts next (see ``storage.errors``).

EngineError
├── EngineStopped      also RetryLater: the worker is going away, the job goes back to the queue
├── Cancelled          someone pressed Cancel
├── ModelUnavailable   also OperatorError: a model cannot be loaded; carries a cure
├── BadPicture         the model made NaN or one flat colour, twice
├── OutOfMemory        too large for this device even alone
└── StepFailed         our bug or the library's: ``__cause__`` holds what was raised
"""

from __future__ import annotations

from storage.errors import AtelierError, OperatorError, RetryLater


class EngineError(AtelierError):
    """The root of what iterating a run may raise."""


class EngineStopped(EngineError, RetryLater):
    """The engine stopped before the run ended; nothing is wrong with the job."""


class Cancelled(EngineError):
    """The run was cancelled by :meth:`worker.engine.run.Run.cancel`."""


class ModelUnavailable(EngineError, OperatorError):
    """A model cannot be loaded; ``problem`` and ``cure`` are for the log and ``doctor``."""


class BadPicture(EngineError):
    """The decoded picture is not worth delivering; ``why`` is ``nan``, ``flat`` or ``unlike``."""

    def __init__(self, message: str, why: str = "flat") -> None:
        super().__init__(message)
        self.why = why


class OutOfMemory(EngineError):
    """The device ran out of memory for this run alone, everything idle having been dropped."""


class StepFailed(EngineError):
    """An unexpected exception inside this run, tried once more alone; others were not touched."""
