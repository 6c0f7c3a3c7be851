"""The figures are right, every label format is read, and the gate of MODERATION.md holds."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from bot.cli import moderation as command_line
from moderation.build import prompt_pipeline
from moderation.evaluation import gate
from moderation.evaluation.figures import auprc, plot, recall_at, reliability, wilson
from moderation.evaluation.labelled import labelled, read_lines
from moderation.evaluation.report import severity
from moderation.policy import DEFAULT_POLICY, Policy
from moderation.shadow import Past, backtest
from storage.schema import Category, Flag, Outcome

DATA = Path(__file__).parent / "data"


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=2, max_size=60))
def test_auprc_is_average_precision(pairs: list[tuple[int, float]]) -> None:
    labels, scores = [p[0] for p in pairs], [p[1] for p in pairs]
    ours = auprc(labels, scores)
    if len(set(labels)) == 1:
        assert ours is None
    else:
        assert ours is not None
        assert math.isclose(ours, average_precision_score(labels, scores), abs_tol=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_share(hits: int, more: int) -> None:
    n = hits + more
    low, high = wilson(hits, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= hits / n <= high


def test_known_values() -> None:
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-3))
    assert recall_at([0] * 100 + [1, 1], [i / 100 for i in range(100)] + [0.985, 0.5]) == 0.5
    rows = reliability([0, 1, 1], [0.05, 0.95, 1.0])
    assert (rows[0]["n"], rows[0]["share"], rows[9]["n"], rows[9]["share"]) == (1, 0.0, 2, 1.0)
    root = ElementTree.fromstring(plot(rows, "a < b & c"))
    assert root.tag.endswith("svg")


@pytest.mark.parametrize(
    ("row", "label", "codes"),
    [
        ({"text": "x", "label": 1, "cats": ["ssh"]}, 1, {"SELF"}),
        ({"text": "x", "label": 0, "cats": []}, 0, set()),
        ({"text": "x", "label": -1}, -1, set()),
        ({"text": "x", "label": "what?"}, -1, set()),
        ({"prompt": "x", "S": 1, "H": 0, "SH": 0}, 1, {"SEX"}),
        ({"prompt": "x", "S": 0, "H": 0}, 0, set()),
        ({"user_input": "x", "toxicity": 0, "jailbreaking": 1}, 1, {"INJ"}),
        ({"prompt": "x", "prompt_label": "unsafe", "violated_categories": "Violence, Hate"}, 1,
         {"VIO", "HATE"}),
        ({"text": "x", "label": "safe"}, 0, set()),
        ({"text": "x", "safe": False}, 1, set()),
        ({"Behavior": "x"}, -1, set()),
        ({"text": "x", "label": True, "category": "SEXC", "lang": "fr"}, 1, {"SEXC"}),
    ],
)  # fmt: skip
def test_every_usual_format_is_read(row: dict[str, Any], label: int, codes: set[str]) -> None:
    record = labelled(row)
    assert record is not None
    assert (record.label, {str(code) for code in record.codes}) == (label, codes)


def test_lines_without_text_and_junk(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": ""}\n\n{"text": "x"}\n{"id": 1}\n', encoding="utf-8")
    assert [r.label for r in read_lines(file)] == [-1]
    assert [r.label for r in read_lines(file, assume=0)] == [0]
    file.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1"):
        list(read_lines(file))


@given(st.sampled_from(Category), st.floats(0, 1), st.floats(0, 1))
def test_severity_rises(code: Category, one: float, two: float) -> None:
    low, high = sorted((one, two))
    low_severity, high_severity = (severity(code, s, DEFAULT_POLICY) for s in (low, high))
    assert 0 <= low_severity <= high_severity <= 1 + 1e-9
    if code not in (Category.SELF, Category.GORE):
        held = DEFAULT_POLICY.of(code).outcome(one) >= Outcome.HOLD
        assert held == (severity(code, one, DEFAULT_POLICY) >= 0.5)


@pytest.fixture(scope="module")
def standing() -> dict[str, float]:
    """The public gate's figures for what ships."""

    async def measured() -> dict[str, float]:
        pipeline = prompt_pipeline(timeout_s=60.0)
        await pipeline.load()
        return await gate.figures(pipeline)

    found = asyncio.run(measured())
    print(found)
    return found


@pytest.mark.parametrize("part", list(gate.parts()))
def test_the_public_gate_holds(standing: dict[str, float], part: str) -> None:
    """Image prompts, ordinary questions in many languages (a head once learnt that French is a
    violation: its only French texts were), over-refusal, identity statements never blocked,
    self-harm, jailbreaks."""
    assert part not in gate.missed(standing), standing[part]


def test_a_candidate_may_not_be_worse_than_what_is_there() -> None:
    good = {
        "image_prompts": 0.0, "ordinary_questions": 0.0, "over_refusal": 0.07,
        "identity_blocked": 0.0, "self_harm": 0.8, "jailbreaks": 0.8, "violating": 0.44,
    }  # fmt: skip
    assert gate.missed(good) == [] and gate.worse(good, good) == []
    assert gate.worse(good | {"over_refusal": 0.2}, good) == ["over_refusal"]
    assert gate.worse(good | {"self_harm": 0.6}, good) == ["self_harm"]
    assert gate.worse(good | {"violating": 0.41}, good) == ["violating"]
    assert gate.worse(good | {"violating": 0.43, "over_refusal": 0.09}, good) == []
    low = good | {"over_refusal": 0.2}
    assert gate.worse(low, low) == [] and gate.worse(low | {"over_refusal": 0.21}, low)
    assert all(len(texts) >= 26 for texts in gate.parts().values())


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.jsonl"
    rows = [
        {"text": "hardcore porn", "label": 1, "cats": ["sxc"]},
        {"text": "a red apple", "label": 0},
        {"text": "une pomme rouge", "label": 0, "lang": "fr"},
        {"text": "whatever", "label": "odd"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    picture = tmp_path / "plot.svg"
    options: dict[str, Any] = {"limit": None, "assume": None, "plot_to": picture}
    assert command_line.run_eval(tmp_path, json=True, **options) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], report["n_fine"], report["n_unlabelled"]) == (4, 2, 1)
    assert (report["false_positive_rate"], report["recall"], report["auprc"]) == (0, 1, 1)
    assert report["codes"]["SEX"]["recall"] == 1 and set(report["languages"]) == {"en", "fr"}
    assert picture.read_text().startswith("<svg")
    assert command_line.run_eval(file, json=False, **options) == 0
    assert "recall" in capsys.readouterr().out
    assert command_line.run_eval(tmp_path / "no.jsonl", json=True, **options) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_threshold_is_tried_on_the_past_first() -> None:
    def past(identity: str, outcome: Outcome, score: float, upheld: bool | None = None) -> Past:
        flag = Flag(category=Category.VIO, score=score, stage="text.heads")
        return Past(id=identity, surface="prompt", outcome=outcome, flags=(flag,), upheld=upheld)  # type: ignore[arg-type]

    records = [
        past("shown", Outcome.ALLOW, 0.2), past("near", Outcome.ALLOW, 0.45),
        past("wrong", Outcome.HOLD, 0.55, upheld=False),
        past("right", Outcome.HOLD, 0.58, upheld=True), past("sure", Outcome.HOLD, 0.85),
    ]  # fmt: skip
    same = backtest(records, Policy())
    assert (same.n, same.changed) == (5, 0)
    stricter = backtest(records, Policy.parse({"thresholds": {"VIO": {"hold": 0.4}}}))
    assert stricter.newly_restricted == ("near",) and stricter.moves == {"allow>hold": 1}
    looser = backtest(records, Policy.parse({"thresholds": {"VIO": {"hold": 0.6}}}))
    assert set(looser.newly_allowed) == {"wrong", "right"}
    assert (looser.overturned_avoided, looser.upheld_lost) == (1, 1)
    assert [r.outcome for r in records] == [
        Outcome.ALLOW, Outcome.ALLOW, Outcome.HOLD, Outcome.HOLD, Outcome.HOLD
    ]  # fmt: skip
