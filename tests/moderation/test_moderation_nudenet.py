"""NudeNet's stage: its reading of pictures, its mapping of labels, and the real model at work.

No picture of a naked person is in this repository; what the stage makes of detections is tested
with planted model outputs.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image, ImageDraw

from moderation.build import prompt_pipeline
from moderation.build_output import output_pipeline
from moderation.pipeline import Content, Pipeline
from moderation.policy import DEFAULT_POLICY, Surface
from moderation.stages.nudenet import FLOOR, LABELS, SIDE, NudeNetStage, best_scores, prepare
from storage.schema import Category, Outcome, Verdict

np = pytest.importorskip("numpy")
upstream: Any = pytest.importorskip("nudenet.nudenet")

STAGE = NudeNetStage()
NAMES = tuple(getattr(upstream, "__labels"))


class Planted(NudeNetStage):
    """The stage with the model's answer given."""

    def __init__(self, answer: dict[str, float]) -> None:
        super().__init__(names_minor=lambda text: "kid" in text)
        self.answer = answer

    def load(self) -> None:
        pass

    def scores(self, blob: Any) -> dict[str, float]:
        return self.answer


def icon(size: int = 64) -> Image.Image:
    """A red apple, roughly."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((size * 0.15, size * 0.25, size * 0.85, size * 0.95), fill=(215, 30, 40))
    draw.rectangle((size * 0.47, size * 0.05, size * 0.53, size * 0.3), fill=(90, 60, 20))
    draw.ellipse((size * 0.55, size * 0.08, size * 0.8, size * 0.2), fill=(60, 160, 60))
    return image


def picture(image: Image.Image, surface: Surface = Surface.OUTPUT, **rest: Any) -> Content:
    return Content(surface, image=image, **rest)


def judged(answer: dict[str, float], surface: Surface = Surface.OUTPUT, **rest: Any) -> Verdict:
    pipeline = Pipeline([Planted(answer)])
    return asyncio.run(pipeline.judge(picture(icon(), surface, **rest), DEFAULT_POLICY))


def test_the_labels_are_the_models() -> None:
    assert set(LABELS) == set(NAMES)
    naked = {"FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_GENITALIA", "ANUS", "BUTTOCKS"}
    assert {label for label, weight in LABELS.items() if weight} == {f"{n}_EXPOSED" for n in naked}


@pytest.mark.parametrize("label", sorted(LABELS))
@pytest.mark.parametrize("surface", [Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD])
def test_each_label_does_what_the_table_says(label: str, surface: Surface) -> None:
    expected = {0.3: Outcome.ALLOW, 0.5: Outcome.HOLD, 0.69: Outcome.HOLD, 0.7: Outcome.BLOCK}
    for score, outcome in expected.items():
        verdict = judged({label: score}, surface)
        assert verdict.outcome is (outcome if LABELS[label] else Outcome.ALLOW)
        assert {flag.detail for flag in verdict.flags} == (
            {label.lower()} if LABELS[label] else set()
        )


def test_nudity_beside_a_minor_in_the_prompt_is_child_abuse() -> None:
    bare = {"BUTTOCKS_EXPOSED": 0.55}
    assert judged(bare, context=("a kid",)).categories() == [Category.CSAE, Category.SEX]
    assert judged(bare, context=("a kid",)).outcome is Outcome.BLOCK
    assert judged(bare, context=("a man",)).outcome is Outcome.HOLD
    assert judged({"BUTTOCKS_EXPOSED": 0.4}, context=("a kid",)).outcome is Outcome.ALLOW
    assert judged({"FACE_FEMALE": 0.9}, context=("a kid",)).outcome is Outcome.ALLOW


def test_scores_above_one_are_cut() -> None:
    assert judged({"ANUS_EXPOSED": 1.0000001}).outcome is Outcome.BLOCK


@pytest.mark.parametrize("score", [float("nan"), -1.0])
def test_scores_that_are_no_scores_never_pass_as_clean(score: float) -> None:
    output = np.zeros((1, 4 + len(NAMES), 3), dtype=np.float32)
    output[0, 6, 1] = score
    if score != score:
        with pytest.raises(ValueError, match="finite"):
            best_scores(output, NAMES)
    else:
        assert best_scores(output, NAMES) == {}


@pytest.mark.parametrize("shape", [(1, 21, 10), (1, 10), (2, 22, 10), (22, 10)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        best_scores(np.zeros(shape, dtype=np.float32), NAMES)


def test_the_best_box_of_each_label_counts_as_upstream() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        output = np.zeros((1, 22, 12), dtype=np.float32)
        output[0, 0] = 13 + 26 * np.arange(12)  # side by side: nothing to suppress
        output[0, 1:4] = 20
        output[0, 4:] = rng.random((18, 12)) ** 8
        found = upstream._postprocess([output], 0, 0, 1, 1, SIDE, SIDE, SIDE, SIDE)
        theirs: dict[str, float] = {}
        for box in found:
            theirs[box["class"]] = max(box["score"], theirs.get(box["class"], 0))
        ours = best_scores(output, NAMES)
        assert ours == pytest.approx({k: v for k, v in theirs.items() if v >= FLOOR})


@pytest.mark.parametrize("size", [(320, 320), (64, 64), (512, 512), (200, 320), (128, 64)])
def test_pictures_are_read_as_upstream_but_red_first(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    (blob,) = prepare(Image.fromarray(pixels))
    theirs = upstream._read_image(pixels, SIDE)[0]
    assert blob.shape == theirs.shape == (1, 3, SIDE, SIDE)
    # Scaling before padding or after differs by a pixel's blend at the edge.
    assert np.abs(blob - theirs).mean() < 0.002
    red = prepare(Image.new("RGB", (10, 10), "red"))[0]
    assert red[0, :, 5, 5].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 500), (500, 1), (8, 8), (64, 64), (63, 65), (1024, 256), (2048, 2048)]
)
def test_real_pictures_of_edge_sizes(size: tuple[int, int]) -> None:
    STAGE.load()
    flags = STAGE.check(picture(Image.new("RGB", size, (120, 140, 90))))
    assert all(flag.score < 0.5 for flag in flags)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"])
def test_real_pictures_of_every_mode(mode: str) -> None:
    assert len(prepare(Image.new(mode, (64, 64)))) == 1


def test_transparent_pictures_are_seen_on_white_and_on_dark() -> None:
    assert len(prepare(Image.new("RGBA", (64, 64), (255, 0, 0, 255)))) == 1
    white, dark = prepare(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))
    assert white[0, :, 9, 9].tolist() == [1.0, 1.0, 1.0]
    assert dark.max() < 0.25
    assert len(prepare(Image.new("LA", (8, 8), (0, 0)))) == 2


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_pictures_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="8 bits"):
        prepare(Image.new(mode, (8, 8)))


def test_animated_and_huge_pictures_are_held() -> None:
    frames = icon()
    frames.n_frames = 2  # type: ignore[attr-defined]
    huge = Image.new("1", (80_000, 1_000))
    for image in (frames, huge):
        verdict = asyncio.run(Pipeline([STAGE]).judge(picture(image), DEFAULT_POLICY))
        assert verdict.outcome is Outcome.HOLD
        assert verdict.categories() == [Category.FAULT]


def test_something_that_is_no_picture_is_held() -> None:
    content = Content(Surface.OUTPUT, image="cat.png")
    verdict = asyncio.run(Pipeline([STAGE]).judge(content, DEFAULT_POLICY))
    assert verdict.categories() == [Category.FAULT]


def test_the_real_pipeline_passes_an_apple_and_its_previews() -> None:
    async def scenario() -> list[Verdict]:
        pipeline = output_pipeline()
        await pipeline.load()
        contents = [
            Content(surface, text="a red apple", image=icon(size), context=("a red apple",))
            for surface in (Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD)
            for size in (64, 128, 512)
        ]
        return await pipeline.judge_all(contents, DEFAULT_POLICY)

    assert {verdict.outcome for verdict in asyncio.run(scenario())} == {Outcome.ALLOW}


def test_the_bots_pipeline_holds_pictures_it_cannot_see() -> None:
    verdict = asyncio.run(prompt_pipeline().judge(picture(icon()), DEFAULT_POLICY))
    assert verdict.outcome is Outcome.HOLD


def test_many_threads_get_the_same_answer() -> None:
    content = picture(icon(128))
    STAGE.load()
    alone = STAGE.scores(prepare(icon(128))[0])
    with ThreadPoolExecutor(4) as threads:
        blobs = [prepare(icon(128))[0] for _ in range(8)]
        assert list(threads.map(STAGE.scores, blobs)) == [alone] * 8
        assert len(set(map(tuple, threads.map(STAGE.check, [content] * 4)))) == 1
