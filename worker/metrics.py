"""What the worker counts, for Prometheus: served on ``ATELIER_METRICS_PORT`` when it is set."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from storage.schema import JobKind, JobStatus, Millis
from worker.engine.meter import Meter

if TYPE_CHECKING:
    from storage.endings import Ending
    from storage.jobs import Claim
    from worker.engine.run import Run

log = logging.getLogger(__name__)

_SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROWS = (1, 2, 4, 8, 16, 32)
_RATIOS = (0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2, 4)


class Metrics(Meter):
    """Counters of one worker, in a registry of their own; a meter for the engine, too.

    Labels are kinds, states and model names, never a member, a workspace or a word of theirs.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._queued = Histogram(
            "atelier_queue_seconds", "From being asked for to being claimed.", ["kind"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._run = Histogram(
            "atelier_run_seconds", "From claim to end.", ["kind", "status"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._steps = Histogram(
            "atelier_step_seconds", "One shared pass.", ["kind"], buckets=_SECONDS, registry=r
        )
        self._batch = Histogram(
            "atelier_step_requests", "Pictures or answers of one pass.", ["kind"],
            buckets=_ROWS, registry=r,
        )  # fmt: skip
        self._cache = Counter(
            "atelier_cache_total", "Looks into a cache.", ["cache", "result"], registry=r
        )
        self._eta = Histogram(
            "atelier_eta_ratio", "True time to the end over the time foreseen.", ["kind"],
            buckets=_RATIOS, registry=r,
        )  # fmt: skip
        self._gate = Histogram(
            "atelier_gate_seconds", "Judging one thing.", ["surface"], buckets=_SECONDS, registry=r
        )
        self._stages = Histogram(
            "atelier_stage_seconds", "One check of one stage, and how it ended.",
            ["stage", "ending"], buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._loads = Histogram(
            "atelier_model_load_seconds", "Bringing a model onto the device.", ["model"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._drops = Counter(
            "atelier_model_drops_total", "Models that made room.", ["model", "to"], registry=r
        )
        self._short = Counter("atelier_out_of_memory_total", "Passes that had none.", registry=r)
        self._remade = Counter(
            "atelier_remade_total", "Pictures made again with the next seed.", ["why"], registry=r
        )
        self._busy = Gauge("atelier_running_jobs", "Jobs running here.", registry=r)

    def stage(self, name: str, ms: float, ending: str) -> None:
        """A moderation stage has answered, or failed to: anything but ``ok`` held something."""
        self._stages.labels(name, str(ending)).observe(ms / 1000)

    # ---- jobs ----------------------------------------------------------------------------------

    def ended(self, claim: Claim, ending: Ending, run: Run, *, now: Millis) -> None:
        """A claimed job has ended here."""
        kind = str(claim.kind)
        self._run.labels(kind, str(ending.status)).observe((now - claim.claimed_at) / 1000)
        if claim.predicted_ms and ending.status is JobStatus.SUCCEEDED:
            self._eta.labels(kind).observe((now - claim.created_at) / claim.predicted_ms)
        for made in ending.made:
            why = made.recipe.get("remade", {}).get("why")
            if why == "unlike":
                self._remade.labels(why).inc()

    def claimed(self, claim: Claim) -> None:
        """A job was claimed."""
        waited = max(0, claim.claimed_at - claim.created_at)
        self._queued.labels(str(claim.kind)).observe(waited / 1000)

    def running(self, jobs: int) -> None:
        """How many jobs run here now."""
        self._busy.set(jobs)

    def judged(self, surface: str, seconds: float) -> None:
        """The gate judged one thing."""
        self._gate.labels(surface).observe(seconds)

    def cache(self, *, hit: bool, name: str = "recipe") -> None:
        """A cache was asked."""
        self._cache.labels(name, "hit" if hit else "miss").inc()

    # ---- the engine ----------------------------------------------------------------------------

    def stepped(self, kind: JobKind, requests: int, rows: int, seconds: float) -> None:
        """One shared pass was made."""
        self._steps.labels(str(kind)).observe(seconds)
        self._batch.labels(str(kind)).observe(requests)

    def loaded(self, model: str, seconds: float, *, from_ram: bool) -> None:
        """A model came onto the device."""
        self._loads.labels(model).observe(seconds)

    def dropped(self, model: str, *, parked: bool) -> None:
        """A model made room for another."""
        self._drops.labels(model, "ram" if parked else "disk").inc()

    def ran_out(self, key: str, rows: int) -> None:
        """A pass ran out of memory."""
        self._short.inc()

    def remade(self, why: str) -> None:
        """A picture was not worth delivering and is made again with the next seed."""
        self._remade.labels(why).inc()

    def embedded(self, hit: bool) -> None:
        """The prompt-embedding cache was asked."""
        self.cache(hit=hit, name="embedding")

    def names(self) -> Iterable[str]:
        """The names served."""
        return sorted(metric.name for metric in self.registry.collect())


def serve(metrics: Metrics, host: str, port: int) -> None:
    """Answer Prometheus on a port; a taken one costs the metrics, not the worker."""
    try:
        start_http_server(port, addr=host, registry=metrics.registry)
        log.info("metrics on %s:%d", host, port)
    except OSError as error:
        log.error("no metrics: port %d cannot be opened (%s)", port, error.strerror)
