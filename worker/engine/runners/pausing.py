"""A blocking call that pauses where it is told to: somebody else's loop, one step at a time.

The call runs on a thread of its own, but only while its owner waits in :meth:`Pausing.resume`, so
the two never run at the same time and nothing between them needs a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


class _Abandoned(BaseException):
    """Raised at the pause of a call that nobody will resume; passes every ``except Exception``."""


class Pausing:
    """Runs ``call(pause)``; each ``pause(value)`` inside hands ``value`` to the owner and waits."""

    def __init__(self, call: Callable[[Callable[[Any], None]], Any]) -> None:
        self.ended = False
        """True when the call has returned or raised."""
        self._call = call
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._value: Any = None
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread: threading.Thread | None = None

    def resume(self) -> Any:
        """Lets the call run to its next pause or its end; returns what it handed over or returned.

        Raises what the call raised; after the end, ``RuntimeError``: a call has one life.
        """
        if self.ended:
            raise RuntimeError("the call has ended") from self._error
        if self._thread is None:
            # Number of threads and inference mode belong to a thread, not to the process.
            settings = torch.get_num_threads(), torch.is_inference_mode_enabled()
            self._thread = threading.Thread(
                target=self._main, args=settings, name="pausing", daemon=True
            )
            self._thread.start()
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error
        return self._value

    def close(self) -> None:
        """Ends the call at its pause and waits until its thread is gone. May be repeated."""
        if self._thread is None:
            return
        if not self.ended:
            self._abandoned = True
            self._go.release()
        self._thread.join()

    def _main(self, threads: int, inference: bool) -> None:
        self._go.acquire()
        try:
            torch.set_num_threads(threads)
            with torch.inference_mode(inference):
                self._value = self._call(self._pause)
        except _Abandoned:
            pass
        except BaseException as error:  # crosses to the owner's thread, whatever it is
            self._error = error
        finally:
            self.ended = True
            self._back.release()

    def _pause(self, value: Any) -> None:
        self._value = value
        self._back.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned
