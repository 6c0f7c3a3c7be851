"""Depth and pose read from any picture, by tiny random networks of the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from bot.commands.imagine import ImagineInput, check_fit, resolve
from storage.errors import BadInput
from storage.registry import AdapterCard, Registry
from storage.schema import Control, ControlKind, JobKind
from tests.engine.test_engine_adapters import control, listed, plain
from tests.engine.test_engine_modes import CARD, PICTURES, SIDE, runner_of, source, together
from worker.bench.tiny import pipeline
from worker.engine.errors import ModelUnavailable
from worker.engine.runners import pixels
from worker.engine.runners.modes.annotate import Annotators, Pose, canny, skeleton

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One annotator a kind; the detector finds a person everywhere."""
    found = tmp_path_factory.mktemp("annotators")
    torch.manual_seed(0)
    backbone = Dinov2Config(
        **TINY, intermediate_size=16, image_size=28, patch_size=14,
        out_features=["stage1", "stage2"], reshape_hidden_states=False,
    )  # fmt: skip
    depth: Any = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone, patch_size=14, reassemble_hidden_size=16,
            reassemble_factors=[1, 0.5], neck_hidden_sizes=[8, 8], fusion_hidden_size=8,
            head_hidden_size=8,
        )
    )  # fmt: skip
    torch.nn.init.constant_(depth.head.conv3.bias, 5.0)  # else its ReLU may leave nothing
    depth.save_pretrained(found / "depth")
    DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14).save_pretrained(
        found / "depth"
    )
    seen = VitPoseBackboneConfig(**TINY, image_size=[64, 48], patch_size=[16, 16], out_indices=[2])
    pose: Any = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=seen, num_labels=17, scale_factor=4)
    )
    torch.nn.init.constant_(pose.head.conv.bias, 1.0)
    pose.save_pretrained(found / "pose")
    VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(found / "pose")
    people: Any = YolosForObjectDetection(
        YolosConfig(
            **TINY, intermediate_size=16, image_size=[32, 32], patch_size=16,
            num_detection_tokens=2, id2label={0: "person"}, label2id={"person": 0},
        )
    )  # fmt: skip
    last = people.class_labels_classifier.layers[-1]
    last.bias.data = torch.tensor([10.0, -10.0])
    people.save_pretrained(found / "pose" / "detector")
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(
        found / "pose" / "detector"
    )
    return found


def cards(folder: Path) -> list[AdapterCard]:
    return [
        listed(folder, f"see-{kind}", "annotator", f"{kind}/model.safetensors", None, control=kind)
        for kind in (ControlKind.DEPTH, ControlKind.POSE)
    ]


def registry_of(adapters: list[AdapterCard]) -> Registry:
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    known = {card.name: card for card in adapters}
    return Registry({"tiny": CARD, "talk": talk}, {}, "tiny", "talk", known)


def test_a_control_picture_is_read_before_it_is_followed(folder: Path) -> None:
    pipe = pipeline("sd15")
    net = control(folder, pipe, "net").model_copy(update={"control": ControlKind.DEPTH})
    registry = registry_of([net, *cards(folder)])
    here = runner_of(pipe, registry, folder)
    steered = Control(kind=ControlKind.DEPTH, source=source("start"))
    photo, finished = (
        plain(control=steered.model_copy(update={"annotated": annotated}))
        for annotated in (False, True)
    )
    (ours,), (theirs,) = together(here, [photo]), together(here, [finished])
    depth = Annotators(registry, "tiny", folder, "cpu").read(ControlKind.DEPTH, PICTURES["start"])
    assert ours.recipe["control_sha256"] == pixels.digest(depth)
    assert theirs.recipe["control_sha256"] == pixels.digest(PICTURES["start"])
    assert ours.sha256 != theirs.sha256


def test_depth_is_spread_over_all_greys(folder: Path) -> None:
    read = Annotators(registry_of(cards(folder)), "tiny", folder, "cpu").read
    image = PICTURES["start"].resize((96, 72))
    found = np.asarray(read(ControlKind.DEPTH, image))
    assert found.shape == (72, 96, 3)
    assert (found.min(), found.max()) == (0, 255)
    assert np.array_equal(found[..., 0], found[..., 2])


def test_everyone_found_gets_a_skeleton(folder: Path) -> None:
    read = Annotators(registry_of(cards(folder)), "tiny", folder, "cpu").read
    found = np.asarray(read(ControlKind.POSE, PICTURES["start"]))
    assert found.shape == (SIDE, SIDE, 3) and found.any()
    pose = Pose(folder / "pose", "cpu")
    assert len(pose.people(PICTURES["start"])) == 2
    pose._detector = None
    assert pose.people(PICTURES["start"]) == [[0.0, 0.0, SIDE, SIDE]]


def test_a_skeleton_is_drawn_as_openpose_draws_it() -> None:
    """Standing: red neck to the right shoulder, nothing for joints that were not seen."""
    joints = [[64.0, 20.0]] * 5 + [[84, 40], [44, 40], [90, 70], [38, 70], [92, 100], [36, 100]]
    joints += [[76, 90], [52, 90], [76, 120], [52, 120], [0, 0], [0, 0]]
    canvas = Image.new("RGB", (128, 128))
    skeleton(canvas, [[float(x), float(y)] for x, y in joints], [1.0] * 15 + [0.1, 0.1])
    pixel = canvas.getpixel
    assert pixel((54, 40)) == (153, 0, 0)  # neck to right shoulder, the first limb
    assert pixel((44, 40)) == (255, 170, 0)  # the right shoulder's own dot
    assert pixel((64, 40)) == (255, 85, 0)  # the neck, which COCO has not
    assert pixel((2, 2)) == (0, 0, 0)


def test_without_an_annotator_it_says_what_to_do(folder: Path) -> None:
    net = control(folder, pipeline("sd15"), "bare").model_copy(
        update={"control": ControlKind.DEPTH}
    )
    registry = registry_of([net])
    given = {"control_image": source("start")}
    wish = resolve(ImagineInput(prompt="a", control="depth"), registry, {}, given)
    with pytest.raises(BadInput, match="annotator_absent"):
        check_fit(wish, registry)
    finished = resolve(ImagineInput(prompt="a", control="Depth map"), registry, {}, given)
    assert finished.control is not None and finished.control.annotated
    check_fit(finished, registry)
    check_fit(wish, registry_of([net, *cards(folder)]))
    with pytest.raises(BadInput, match="annotator_absent"):
        Annotators(registry, "tiny", folder, "cpu").read(ControlKind.DEPTH, PICTURES["start"])
    assert Annotators(registry, "tiny", folder, "cpu").read(
        ControlKind.CANNY, PICTURES["start"]
    ) == canny(PICTURES["start"])


def test_a_broken_annotator_names_the_cure(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    weights = (folder / "depth" / "model.safetensors").read_bytes()
    (tmp_path / "depth" / "model.safetensors").write_bytes(weights)
    read = Annotators(registry_of(cards(folder)), "tiny", tmp_path, "cpu").read
    with pytest.raises(ModelUnavailable) as caught:
        read(ControlKind.DEPTH, PICTURES["start"])
    assert "preprocessor_config.json" in caught.value.cure
