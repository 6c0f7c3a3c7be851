"""The benches measure what they say: small ones are run, a missed target is told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from worker.bench.families import families
from worker.bench.gpu import checks, refusal
from worker.bench.measure import Measure, alternate, jain, percentile, table
from worker.bench.subjects import subjects
from worker.bench.traffic import Wish, simulate, two_models


def test_targets_in_both_directions() -> None:
    assert Measure("a", "x", 1.0, "x", "<= 1.05").target_met is True
    assert Measure("a", "x", 1.1, "x", "<= 1.05").target_met is False
    assert Measure("b", "x", 0.9, "x", ">= 0.95").target_met is False
    assert Measure("b", "x", 0.9, "x").target_met is None
    assert set(Measure("a", "x", 1.0, "x", "<= 2").dump()) >= {
        "name", "value", "unit", "target", "target_met", "low", "high", "rounds", "identity",
    }  # fmt: skip


def test_figures_of_known_numbers() -> None:
    assert jain([1, 1, 1]) == 1 and jain([3, 0, 0]) == pytest.approx(1 / 3)
    assert [percentile([5, 1, 3], p) for p in (0.0, 0.5, 0.95)] == [1, 3, 5]
    calls: list[str] = []
    ratio = alternate(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert "".join(calls) == "ab" * 4 and len(ratio.cpu) == 3


def test_the_table_says_what_was_missed() -> None:
    text = table([Measure("a", "slow", 2.0, "x", "<= 1", 1.5, 2.5, 7, "pixels equal")])
    assert "| a | slow | 2 | 1.5 to 2.5 (7) | <= 1 | **no** | pixels equal |" in text


def test_a_simulated_trace_keeps_every_wish_and_bundles() -> None:
    wishes = [Wish(f"m{n % 3}", 0.0, 2.0, ("starter-icons", "sd-turbo")[n % 2]) for n in range(18)]
    plain, bundled = simulate(wishes, slack_ms=0, swap_s=4), simulate(wishes, swap_s=4)
    for outcome in (plain, bundled):
        assert sum(map(len, outcome.waits.values())) == 18
    assert bundled.switches < plain.switches
    assert bundled.makespan < plain.makespan


def test_the_two_model_trace_meets_its_targets() -> None:
    found = {m.name: m for m in two_models(0.3)}
    assert found["two models: switches, bundled / not"].target_met
    assert found["makespan, bundled / not"].target_met


def test_the_gpu_checks_run_to_their_end_on_small_shapes() -> None:
    """The very code of `--gpu`, on the CPU, so that it cannot rot where there is no GPU."""
    told: list[str] = []
    found = checks(told.append, quick=True, device="cpu")
    names = " ".join(m.name for m in found)
    for word in ("row alone and in 8", "fixed bucket", "together", "shared weights", "copy"):
        assert word in names
    assert next(m for m in found if "shared weights" in m.name).identity == "outputs equal"


def test_families_share_passes_and_keep_every_picture() -> None:
    """What `atelier bench` measures on tiny models; one round, since speed is not asked here. One
    family of each make: test_engine_company has them all."""
    kinds = ("sd15", "z-image")
    found = families(subjects(None, size=64, steps=2), 1, kinds)
    for letter in ("b2", "m"):
        measures = [m for m in found if m.letter == letter]
        assert len(measures) == len(kinds)
        missed = [f"{m.name}: {m.value} ({m.also or m.identity})" for m in measures
                  if not m.target_met]  # fmt: skip
        assert not missed, "\n".join(missed)
    assert all(m.identity == "pictures equal" for m in found if m.letter == "b")


def test_without_a_gpu_it_says_so_clearly() -> None:
    if refusal():
        ran = subprocess.run(
            [sys.executable, "-m", "worker.bench", "--gpu", "--json"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 2 and "needs an NVIDIA GPU" in ran.stderr
        assert json.loads(ran.stdout)["measures"] == []
