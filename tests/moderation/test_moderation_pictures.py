"""Pictures: two networks, known hashes, words in them, faces they start from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from moderation.build_output import output_pipeline
from moderation.pdq import NEAR, distance, hashes, nearest, packed, pdq
from moderation.pipeline import Content, Pipeline
from moderation.policy import DEFAULT_POLICY, Surface, decide
from moderation.stages.bank import BankStage, Known
from moderation.stages.nudity import (
    BLOCKS,
    HIGH,
    HOLDS,
    LOW,
    NudityStage,
    bare_from_face,
    on_policy_scale,
)
from moderation.stages.ocr import PictureTextStage
from moderation.stages.terms import TermsStage
from storage.schema import Category, Flag, Outcome, Verdict
from tests.marks.pictures import again, icon, photo
from worker.metrics import Metrics

TERMS = TermsStage()


@pytest.fixture(scope="module")
def nudity() -> NudityStage:
    stage = NudityStage(TERMS.mentions_minor, TERMS.mentions_sex)
    stage.load()
    return stage


class Scores:
    """Stands in for the two networks at their own seam."""

    def __init__(self, stage: NudityStage, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stage, self._patch = stage, monkeypatch

    def set(self, nudenet: dict[str, float], opennsfw: float) -> None:
        self._patch.setattr(self._stage._nudenet, "scores", lambda blob: nudenet)
        self._patch.setattr(self._stage._opennsfw, "score", lambda image: opennsfw)


@pytest.fixture
def networks(nudity: NudityStage, monkeypatch: pytest.MonkeyPatch) -> Scores:
    return Scores(nudity, monkeypatch)


@pytest.mark.parametrize(
    ("bare", "whole", "outcome"),
    [
        (0.0, 0.0, Outcome.ALLOW), (0.4, 0.6, Outcome.ALLOW), (0.55, 0.1, Outcome.HOLD),
        (0.1, 0.75, Outcome.HOLD), (0.55, 0.75, Outcome.BLOCK), (0.72, 0.0, Outcome.BLOCK),
        (0.0, 0.93, Outcome.BLOCK), (0.49, 0.89, Outcome.HOLD), (0.69, 0.69, Outcome.HOLD),
    ],
)  # fmt: skip
def test_the_ensemble_rule(
    nudity: NudityStage, networks: Scores, bare: float, whole: float, outcome: Outcome
) -> None:
    networks.set({"FEMALE_BREAST_EXPOSED": bare}, whole)
    flags = nudity.check(Content(Surface.OUTPUT, image=icon()))
    assert decide(flags, DEFAULT_POLICY, Surface.OUTPUT).outcome is outcome


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_scale_rises_and_meets_the_lines(one: float, two: float) -> None:
    low, high = sorted((on_policy_scale(one), on_policy_scale(two)))
    assert (on_policy_scale(min(one, two)), on_policy_scale(max(one, two))) == (low, high)
    assert 0 <= low <= high <= 1
    assert (one >= LOW["opennsfw"]) == (on_policy_scale(one) >= HOLDS)
    assert (one >= HIGH["opennsfw"]) == (on_policy_scale(one) >= BLOCKS - 1e-12)


def test_harmless_pictures_pass_the_real_networks(nudity: NudityStage) -> None:
    for image in (photo(), icon(), icon(3), Image.new("RGB", (64, 64))):
        for surface in (Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD):
            assert nudity.check(Content(surface, image=image)) == []


def test_a_face_beside_sexual_words_is_a_real_person(nudity: NudityStage, networks: Scores) -> None:
    networks.set({"FACE_FEMALE": 0.8}, 0.0)

    def outcome(surface: Surface, *context: str) -> Outcome:
        flags = nudity.check(Content(surface, image=icon(), context=context))
        return decide(flags, DEFAULT_POLICY, surface).outcome

    assert outcome(Surface.UPLOAD, "make her nude") is Outcome.BLOCK
    assert outcome(Surface.UPLOAD, "as an oil painting") is Outcome.ALLOW
    assert outcome(Surface.OUTPUT, "nude") is Outcome.ALLOW, "only what was uploaded"
    networks.set({"FACE_FEMALE": 0.3}, 0.0)
    assert outcome(Surface.UPLOAD, "make her nude") is Outcome.ALLOW


def test_nudity_made_from_a_face_blocks_whatever_was_asked(
    nudity: NudityStage, networks: Scores
) -> None:
    networks.set({"FACE_MALE": 0.8}, 0.0)
    flags = nudity.check(Content(Surface.UPLOAD, image=icon(), context=("at the beach",)))
    start = decide(flags, DEFAULT_POLICY, Surface.UPLOAD)
    assert start.outcome is Outcome.ALLOW
    bare = Flag(category=Category.SEX, score=0.55, stage="image.nudity")
    made = decide([bare], DEFAULT_POLICY, Surface.OUTPUT)
    assert made.outcome is Outcome.HOLD
    assert bare_from_face(start, made).outcome is Outcome.BLOCK
    assert bare_from_face(Verdict(), made) == made
    assert bare_from_face(start, Verdict()) == Verdict()


def test_a_hash_survives_what_copies_go_through() -> None:
    originals = [photo(seed=seed) for seed in range(8)]
    for image in originals:
        first = pdq(image)
        assert len(first.digits) == 64 and first.quality >= 50
        for copy in (
            again(image, "JPEG", quality=60),
            image.convert("L"),
            image.resize((image.width * 2 // 5, image.height * 2 // 5)),
            again(image, "WEBP", quality=50),
        ):
            assert distance(first.digits, pdq(copy).digits) <= NEAR
    for one in originals:
        for two in originals:
            if one is not two:
                assert distance(pdq(one).digits, pdq(two).digits) > 2 * NEAR


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_the_eight_orientations(turn: Image.Transpose) -> None:
    image = photo(256, 256)
    turned = pdq(image.transpose(turn)).digits
    assert min(distance(turned, one.digits) for one in hashes(image)) <= 6
    bank = packed([pdq(photo(256, 256, seed=4)).digits, pdq(image).digits])
    found = nearest(bank, [one.digits for one in hashes(image.transpose(turn))])
    assert found is not None and found[0] == 1 and found[1] <= 6
    assert nearest(packed([]), [turned]) is None


def test_a_denied_picture_is_known_again_where_it_was_denied() -> None:
    stage = BankStage()
    image = photo()
    seen = again(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=70)

    def outcome(workspace: str, picture: Image.Image = seen) -> Outcome:
        flags = stage.check(Content(Surface.UPLOAD, image=picture, workspace_id=workspace))
        return decide(flags, DEFAULT_POLICY, Surface.UPLOAD).outcome

    assert outcome("a") is Outcome.ALLOW
    stage.replace([Known(pdq(image).digits, "deny", "SEX", "a"), Known("junk", "deny", "SEX")])
    assert outcome("a") is Outcome.BLOCK
    assert outcome("b") is Outcome.ALLOW, "another workspace decides for itself"
    assert outcome("a", photo(seed=9)) is Outcome.ALLOW
    stage.replace([Known(pdq(image).digits, "deny", "NONSENSE")])
    assert outcome("b") is Outcome.BLOCK, "the studio's own bank applies everywhere"
    stage.replace([Known(pdq(image).digits, "allow", "")])
    assert outcome("a") is Outcome.ALLOW
    match = stage.look(Content(Surface.UPLOAD, image=seen), ("allow",))
    assert match is not None and match.distance <= NEAR
    plain = Image.new("RGB", (64, 64), "white")
    stage.replace([Known(pdq(plain).digits, "deny", "SEX")])
    assert outcome("a", plain) is Outcome.ALLOW, "a plain picture has no hash worth the name"


def written(text: str, size: int = 400) -> Image.Image:
    image = photo(size, size, seed=6)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, size // 2, size, size // 2 + size // 6), fill="white")
    font = ImageFont.load_default(size // 12)
    draw.text((size // 30, size // 2 + size // 40), text, fill="black", font=font)
    return image


async def test_words_in_a_picture_are_read_and_judged() -> None:
    pipeline = output_pipeline()
    await pipeline.load()
    bad = await pipeline.judge(
        Content(Surface.OUTPUT, image=written("heil hitler")), DEFAULT_POLICY
    )
    assert bad.outcome is Outcome.HOLD and bad.categories() == [Category.HATE]
    assert {flag.stage for flag in bad.flags} == {"image.text"}
    good = Content(Surface.OUTPUT, image=written("happy birthday"))
    judged = await pipeline.judge_fully(good, DEFAULT_POLICY)
    assert judged.verdict.outcome is Outcome.ALLOW
    assert {"image.nudity/nudenet", "image.nudity/opennsfw"} <= set(judged.scores)
    assert judged.versions["image.nudity"].startswith("nudenet")


def test_small_letters_are_read_too_and_blank_pictures_say_nothing() -> None:
    stage = PictureTextStage([TERMS])
    stage.load()
    assert "birthday" in stage.read(written("happy birthday", 220)).lower()
    assert stage.read(Image.new("RGB", (128, 128), "grey")) == ""
    assert stage.read(photo(300, 60, seed=1)) == ""


class Planted:
    """A stage that fails in a way of one's choice."""

    surfaces = frozenset(Surface)

    def __init__(self, name: str, answer: object) -> None:
        self.name, self._answer = name, answer

    def load(self) -> None: ...

    def check(self, content: Content) -> list[Flag]:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer  # type: ignore[return-value]


@pytest.mark.parametrize("place", ["image.nudity", "image.text", "image.bank", "text.terms"])
@pytest.mark.parametrize(
    "answer",
    [RuntimeError("x"), MemoryError(), None, 7, "no", [None], [object()],
     [Flag.model_construct(category=Category.SEX, score=float("nan"), stage="s", detail="")],
     [Flag.model_construct(category="NOPE", score=0.1, stage="s", detail="")]],
)  # fmt: skip
async def test_a_planted_failure_in_any_place_holds(place: str, answer: object) -> None:
    metrics = Metrics()
    pipeline = Pipeline([Planted(place, answer), Planted("image.ok", []), Planted("text.ok", [])])
    pipeline.watch(metrics.stage)
    content = Content(Surface.OUTPUT, image=icon(), text="a caption")
    verdict = await pipeline.judge(content, DEFAULT_POLICY)
    assert verdict.outcome is Outcome.HOLD and verdict.categories() == [Category.FAULT]
    counted = {
        sample.labels["ending"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "atelier_stage_seconds_count" and sample.labels["stage"] == place
    }
    assert sum(counted.values()) == 1 and set(counted) <= {"raised", "junk"}


@pytest.mark.parametrize(
    "shape", [np.zeros((1, 2), np.float32) * np.nan, np.zeros((1, 3), np.float32)]
)
async def test_a_network_that_answers_junk_holds(
    nudity: NudityStage, monkeypatch: pytest.MonkeyPatch, shape: np.ndarray
) -> None:  # type: ignore[type-arg]
    class Session:
        def run(self, names: object, feeds: object) -> list[object]:
            return [shape]

    monkeypatch.setattr(nudity._opennsfw, "_ready", (Session(), "x"))
    verdict = await Pipeline([nudity]).judge(Content(Surface.OUTPUT, image=icon()), DEFAULT_POLICY)
    assert verdict.outcome is Outcome.HOLD
