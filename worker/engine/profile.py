"""What a shared pass costs, measured: the curve from which batch caps come, kept between starts.

A curve says how many seconds one pass of a batch key takes with so many rows. Where two rows cost
twice as much as one (1024 pixels on a big card), sharing gains nothing and the cap is one request;
where they cost little more (512 pixels), the cap is where throughput stops growing. Published
curves differ by machine and shape (PERFORMANCE.md 2.2), so ours is measured here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

log = logging.getLogger(__name__)

SAMPLES = 5
"""Newest measurements kept of each point; their median counts, so one interruption does not."""

NEAR = 0.95
"""The cap is the smallest batch with this much of the best throughput: smaller ones end sooner."""

GAIN = 1.0 / 0.9
"""Throughput gain from which sharing pays (measured in simulation, PERFORMANCE.md 1.6)."""

PROBED_ROWS = (1, 2, 4, 8)
"""Rows that are measured in idle moments; also the batch buckets of compiled models."""


def best_rows(curve: Mapping[int, float], single: int = 1) -> int:
    """Rows a pass should have at most; ``single`` are those of one request alone (2 with guidance).

    ``curve`` gives seconds by rows. Returns ``single`` when no batch gains at least :data:`GAIN`
    over it, else the smallest number of rows that comes :data:`NEAR` the best throughput.
    """
    # Fewer rows than one request has are of a neighbour without guidance, and no choice here.
    speeds = {r: r / seconds for r, seconds in curve.items() if seconds > 0 and r >= single}
    alone = speeds.get(single)
    if alone is None:
        return single
    best = max(speeds.values())
    if best < alone * GAIN:
        return single
    return min(rows for rows, speed in speeds.items() if speed >= best * NEAR)


class Profile:
    """Curves by batch key, with what ran out of memory; read from and written to a file.

    ``identity`` names device and libraries: another machine's figures are not ours. A file that
    is missing, unreadable or of another identity means starting over; without ``path`` nothing is
    kept. Not thread-safe: the engine thread's own.
    """

    def __init__(self, path: Path | None = None, identity: str = "") -> None:
        self._path = path
        self._identity = identity
        self._times: dict[str, dict[int, list[float]]] = {}
        self._single: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._seen: set[tuple[str, int]] = set()
        self._changed = False
        if path is not None:
            self._read(path)

    def note(self, key: str, rows: int, single: int, seconds: float) -> None:
        """A pass of ``rows`` rows took so long; the first of its kind is set-up and not counted."""
        if (key, rows) not in self._seen:
            self._seen.add((key, rows))
            return
        self._single[key] = single
        samples = self._times.setdefault(key, {}).setdefault(rows, [])
        samples.append(seconds)
        del samples[:-SAMPLES]
        self._changed = True

    def ran_out(self, key: str, rows: int) -> None:
        """A pass of ``rows`` rows ran out of memory: from now on half of that (up) at most."""
        self._limits[key] = max(1, min(self._limits.get(key, rows), rows - rows // 2))
        self._changed = True

    def curve(self, key: str) -> dict[int, float]:
        """Seconds by rows, as far as measured."""
        return {rows: median(samples) for rows, samples in sorted(self._times.get(key, {}).items())}

    def cap(self, key: str) -> int | None:
        """Most rows for a pass of this key; None while too little is known to limit anything."""
        curve = self.curve(key)
        limit = self._limits.get(key)
        single = self._single.get(key, 1)
        # Without a larger measurement nothing is known about sharing yet.
        wanted = best_rows(curve, single) if max(curve, default=0) > single else None
        if wanted is None or limit is None:
            return wanted if wanted is not None else limit
        return max(1, min(wanted, limit))

    def caps(self) -> dict[str, int]:
        """Every key's cap, where there is one."""
        found = {key: self.cap(key) for key in self._times.keys() | self._limits.keys()}
        return {key: cap for key, cap in found.items() if cap is not None}

    def lacks(self, key: str, rows: int) -> bool:
        """Whether a point is not yet measured well enough (three times) and may be tried."""
        limit = self._limits.get(key)
        if limit is not None and rows > limit:
            return False
        return len(self._times.get(key, {}).get(rows, ())) < 3

    def save(self) -> None:
        """Writes what has changed; a full disk costs the memory of it, not the job."""
        if self._path is None or not self._changed:
            return
        self._changed = False
        data = {
            "identity": self._identity,
            "times": {k: {str(r): s for r, s in t.items()} for k, t in self._times.items()},
            "single": self._single,
            "limits": self._limits,
        }
        draft = self._path.with_suffix(".part")
        try:
            draft.write_text(json.dumps(data), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("the engine's profile could not be kept: %s", error)

    def _read(self, path: Path) -> None:
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if data["identity"] != self._identity:
                return
            times = {
                key: {int(rows): [float(s) for s in samples] for rows, samples in points.items()}
                for key, points in data["times"].items()
            }
            single = {str(k): int(v) for k, v in data["single"].items()}
            limits = {str(k): int(v) for k, v in data["limits"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the engine's profile is unreadable and is made anew: %s", error)
            return
        self._times, self._single, self._limits = times, single, limits
