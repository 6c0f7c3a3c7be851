"""What the bot counts, for Prometheus: how commands end and how long a first answer takes.

Labels are names of commands and outcomes, never a member, a workspace or a word of theirs.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 10)


class Metrics:
    """Counters of one bot, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Histogram(
            "atelier_answer_seconds", "From a command or press to its first reply.", ["name"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "atelier_refused_total", "Replies that said no, by their code.", ["code"],
            registry=self.registry,
        )  # fmt: skip
        self._submitted = Counter(
            "atelier_submitted_total", "Jobs queued, by where their result comes from.",
            ["kind", "source"], registry=self.registry,
        )  # fmt: skip

    def answered(self, name: str, seconds: float, code: str | None) -> None:
        """A command or press got its first reply; ``code`` says why when it was a no."""
        self._answers.labels(name).observe(seconds)
        if code is not None:
            self._refused.labels(code).inc()

    def submitted(self, kind: str, *, cached: bool) -> None:
        """A job was queued; ``cached`` when the recipe cache answers it."""
        self._submitted.labels(kind, "cache" if cached else "engine").inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
