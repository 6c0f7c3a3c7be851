"""What the engine tells whoever counts; the worker's metrics listen, tests and benches may too."""

from __future__ import annotations

from storage.schema import JobKind


class Meter:
    """Hears what the engine does, on the engine's threads; every method does nothing here."""

    def stepped(self, kind: JobKind, requests: int, rows: int, seconds: float) -> None:
        """One shared pass was made."""

    def loaded(self, model: str, seconds: float, *, from_ram: bool) -> None:
        """A model came onto the device."""

    def dropped(self, model: str, *, parked: bool) -> None:
        """A model made room for another."""

    def ran_out(self, key: str, rows: int) -> None:
        """A pass ran out of memory."""

    def remade(self, why: str) -> None:
        """A picture was not worth delivering and is made again with the next seed."""

    def embedded(self, hit: bool) -> None:
        """A prompt's encoding was looked for among the kept ones."""
