"""LoRAs, ControlNets, reference pictures, learned tokens and weights, each as diffusers has it."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from peft import LoraConfig
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from storage.errors import BadInput, NotFound
from storage.registry import AdapterCard, Registry
from storage.schema import Adapter, Control, ControlKind, ImageSpec, JobKind, Mode
from tests.engine.test_engine_modes import (
    CARD,
    PICTURES,
    SIDE,
    runner_of,
    source,
    spec,
    through,
    together,
)
from worker.bench.tiny import pipeline
from worker.engine.errors import ModelUnavailable
from worker.engine.quantise import shrink
from worker.engine.runners import pixels
from worker.engine.runners.image import ImageRunner
from worker.engine.runners.modes.adapters import clip_pixels
from worker.engine.runners.modes.annotate import canny

TOKEN = "<toy>"


def lora(folder: Path, name: str, pipe: Any, seed: int) -> AdapterCard:
    """A random LoRA of the tiny UNet, written as diffusers writes one."""
    torch.manual_seed(seed)
    unet = copy.deepcopy(pipe.unet)
    unet.add_adapter(
        LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"])
    )
    from peft.utils import get_peft_model_state_dict

    state = {f"unet.{k}": v.contiguous() for k, v in get_peft_model_state_dict(unet).items()}
    return listed(folder, name, "lora", f"{name}.safetensors", state)


def listed(folder: Path, name: str, kind: Any, file: str, state: Any, **more: Any) -> AdapterCard:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if state is not None:
        save_file(state, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return AdapterCard(name=name, kind=kind, file=file, sha256=sha256, **more)


def control(folder: Path, pipe: Any, name: str = "canny") -> AdapterCard:
    torch.manual_seed(5)
    net = diffusers.ControlNetModel.from_unet(
        pipe.unet, conditioning_embedding_out_channels=(8, 8, 8, 8)
    )
    for parameter in net.parameters():
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, std=0.2)
    net.save_pretrained(folder / name)
    file = f"{name}/diffusion_pytorch_model.safetensors"
    return listed(folder, name, "control", file, None, control=ControlKind.CANNY)


def reference(folder: Path, pipe: Any) -> AdapterCard:
    torch.manual_seed(6)
    vision: Any = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=32, patch_size=8, projection_dim=12,
        )
    )  # fmt: skip
    vision.save_pretrained(folder / "ip" / "image_encoder")
    cross = pipe.unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(4 * cross, 12) * 0.3,
        "image_proj.proj.bias": torch.randn(4 * cross),
        "image_proj.norm.weight": torch.ones(cross),
        "image_proj.norm.bias": torch.zeros(cross),
    }
    place = 1
    for name in pipe.unet.attn_processors:
        if name.endswith("attn2.processor"):
            width = pipe.unet.get_submodule(name.removesuffix(".processor")).inner_dim
            for part in ("to_k_ip", "to_v_ip"):
                state[f"ip_adapter.{place}.{part}.weight"] = torch.randn(width, cross) * 0.3
            place += 2
    return listed(folder, "like", "reference", "ip/ip_adapter.safetensors", state)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def here(kind: str, tmp_path_factory: pytest.TempPathFactory) -> ImageRunner:
    """A tiny model with everything listed beside it."""
    folder = tmp_path_factory.mktemp(kind)
    pipe = pipeline(kind)
    cards = [
        lora(folder, "ink", pipe, 1), lora(folder, "snow.v2", pipe, 2), control(folder, pipe),
        reference(folder, pipe),
    ]  # fmt: skip
    if kind == "sd15":
        vectors = {TOKEN: torch.randn(2, 16, generator=torch.Generator().manual_seed(3))}
        cards.append(listed(folder, "toy", "embedding", "toy.safetensors", vectors, token=TOKEN))
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    registry = Registry(
        {"tiny": CARD, "talk": talk}, {}, "tiny", "talk", {c.name: c for c in cards}
    )
    return runner_of(pipe, registry, folder)


def plain(**changes: Any) -> ImageSpec:
    return spec(**{"mode": Mode.TEXT, "start": None, **changes})


INK = (Adapter(name="ink", weight=0.8),)


@torch.inference_mode()
def hook(here: ImageRunner, one: ImageSpec, place: int) -> Any:
    """The hook a picture has at a place: adapters, words, control, start."""
    assert here._hooks is not None
    return here._hooks(one, 0, here.family, PICTURES)[place]


def stock(here: ImageRunner) -> str:
    return "StableDiffusionXLPipeline" if _is_xl(here) else "StableDiffusionPipeline"


def _is_xl(here: ImageRunner) -> bool:
    return "XL" in type(here.family.pipe).__name__


def test_a_lora_draws_what_the_pipeline_draws_with_it(here: ImageRunner) -> None:
    bare = plain()
    (before,) = together(here, [bare])
    both = plain(adapters=(*INK, Adapter(name="snow.v2", weight=-0.5)))
    (ours,) = together(here, [both])
    pipe = here.family.pipe  # still as the last picture left it: both on
    theirs = through(stock(here), here, bare, width=SIDE, height=SIDE)
    assert ours.sha256 == pixels.digest(theirs) != before.sha256
    assert set(ours.recipe["adapters_sha256"]) == {"ink", "snow.v2"}
    (after,) = together(here, [bare])
    assert after.sha256 == before.sha256, "what was switched on is off again, to the bit"
    assert len(pipe.get_list_adapters()["unet"]) == 2


def test_pictures_of_other_loras_never_share_a_pass(here: ImageRunner) -> None:
    wishes = [
        plain(), plain(adapters=INK), plain(adapters=(Adapter(name="ink", weight=0.3),)),
        plain(adapters=INK, seed=9, steps=3), spec(adapters=INK, strength=0.5),
        plain(reference=source("start"), seed=4),
    ]  # fmt: skip
    with torch.inference_mode():
        keys = [here.begin(one, 0, PICTURES).key for one in wishes]
    assert keys[1] == keys[3] == keys[4]
    assert len(set(keys)) == 4
    alone = [together(here, [one])[0].sha256 for one in wishes]
    assert [made.sha256 for made in together(here, wishes)] == alone
    assert len(set(alone)) == len(alone)


def test_a_control_picture_steers_as_the_pipeline_steers(here: ImageRunner) -> None:
    one = plain(control=Control(kind=ControlKind.CANNY, source=source("start"), scale=0.7))
    (ours,) = together(here, [one])
    net = hook(here, one, 2)._net
    name = "StableDiffusionXLControlNetPipeline" if _is_xl(here) else (
        "StableDiffusionControlNetPipeline"
    )  # fmt: skip
    theirs = controlled(name, here, one, net, canny(PICTURES["start"]))
    assert ours.sha256 == pixels.digest(theirs) != together(here, [plain()])[0].sha256


@torch.inference_mode()
def controlled(
    name: str, here: ImageRunner, one: ImageSpec, net: Any, image: Image.Image
) -> Image.Image:
    pipe = here.family.pipe
    parts = {k: v for k, v in pipe.components.items() if k not in ("safety_checker",)}
    fixed = {"add_watermarker": False} if "XL" in name else {
        "requires_safety_checker": False, "safety_checker": None,
    }  # fmt: skip
    other = getattr(diffusers, name)(controlnet=net, **parts, **fixed)
    other.set_progress_bar_config(disable=True)
    from worker.engine.samplers import SAMPLERS

    chosen = SAMPLERS[one.scheduler]
    other.scheduler = getattr(diffusers, chosen.cls).from_config(
        pipe.scheduler.config, **chosen.settings
    )
    assert one.control is not None
    made: Image.Image = other(
        prompt=one.prompt, image=image, num_inference_steps=one.steps, width=SIDE, height=SIDE,
        guidance_scale=one.guidance, generator=torch.Generator("cpu").manual_seed(one.seed),
        controlnet_conditioning_scale=one.control.scale,
    ).images[0]  # fmt: skip
    return made


def test_control_and_neighbours_change_no_bit(here: ImageRunner) -> None:
    steered = Control(kind=ControlKind.CANNY, source=source("start"))
    wishes = [plain(control=steered), plain(), plain(control=steered, seed=8, steps=3),
              spec(control=steered, adapters=INK, strength=0.5)]  # fmt: skip
    alone = [together(here, [one])[0].sha256 for one in wishes]
    assert [made.sha256 for made in together(here, wishes)] == alone


def test_a_reference_picture_is_read_as_an_ip_adapter_reads_it(here: ImageRunner) -> None:
    one = plain(reference=source("start"), reference_scale=0.6)
    (ours,) = together(here, [one])
    adapters = hook(here, one, 0)._adapters
    adapters.activate((), 0.6)
    with torch.inference_mode():
        embeds = adapters.reference().embed(PICTURES["start"])
    theirs = through(
        stock(here), here, one, width=SIDE, height=SIDE,
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embeds), embeds])],
    )  # fmt: skip
    (bare,) = together(here, [plain()])
    assert ours.sha256 == pixels.digest(theirs) != bare.sha256
    assert through(stock(here), here, plain(), width=SIDE, height=SIDE) == bare.image


def test_several_references_are_blended_as_an_ip_adapter_blends_them(here: ImageRunner) -> None:
    one = plain(reference=source("start"), blend=(source("mask"),), reference_scale=0.6)
    (ours,) = together(here, [one])
    adapters = hook(here, one, 0)._adapters
    adapters.activate((), 0.6)
    with torch.inference_mode():
        read = adapters.reference().embed
        embeds = torch.cat([read(PICTURES["start"]), read(PICTURES["mask"])], dim=1)
    theirs = through(
        stock(here), here, one, width=SIDE, height=SIDE,
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embeds), embeds])],
    )  # fmt: skip
    single = plain(reference=source("start"), reference_scale=0.6)
    assert ours.sha256 == pixels.digest(theirs) != together(here, [single])[0].sha256
    alone = [together(here, [w])[0].sha256 for w in (one, single)]
    assert [made.sha256 for made in together(here, [one, single])] == alone
    together(here, [plain()])  # and off again, for who calls the network directly


def test_a_learned_token_is_read_in_short_and_long_prompts(here: ImageRunner, kind: str) -> None:
    if kind != "sd15":
        with pytest.raises(NotFound):
            here.registry.adapter("toy", "embedding", "tiny")
        return
    one = plain(prompt=f"a {TOKEN}")
    theirs = through(stock(here), here, one, width=SIDE, height=SIDE)
    (ours,) = together(here, [one])
    assert ours.sha256 == pixels.digest(theirs)
    weighted = together(here, [plain(prompt=f"a ({TOKEN}:1.4)")])[0].sha256
    long = together(here, [plain(prompt=f"a {TOKEN} " + "on a hill " * 4)])[0].sha256
    assert len({ours.sha256, weighted, long}) == 3


def test_weights_count_and_plain_prompts_stay_plain(here: ImageRunner) -> None:
    prompts = ["red apple", "(red:1.0) apple", r"red apple\+\+", "(red:1.5) apple", "apple++ red"]
    made = [together(here, [plain(prompt=p)])[0].sha256 for p in prompts]
    assert made[0] == made[1], "a weight of one is no weight"
    assert len(set(made)) == 4
    theirs = through(stock(here), here, plain(prompt="red apple"), width=SIDE, height=SIDE)
    assert made[0] == pixels.digest(theirs)


def test_a_long_prompt_is_read_to_its_end(here: ImageRunner) -> None:
    start = "a house by the sea, with a"  # longer than the 24 tokens of the tiny encoders
    made = [together(here, [plain(prompt=start + end)])[0] for end in (" red door", " blue door")]
    assert made[0].sha256 != made[1].sha256
    with torch.inference_mode():
        rows = here.begin(plain(prompt=start + " red door"), 0).conditions
    assert rows[0]["texts"].shape == rows[1]["texts"].shape
    assert rows[1]["texts"].shape[1] == 48


def test_a_file_that_is_not_the_listed_one_is_not_read(here: ImageRunner, tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"something else")
    card = here.registry.adapters["ink"]
    registry = Registry(
        here.registry.cards, {}, "tiny", "talk",
        {"ink": card, "out": card.model_copy(update={"name": "out", "file": "../up.safetensors"})},
    )  # fmt: skip
    poor = runner_of(pipeline("sd15"), registry, tmp_path)
    with torch.inference_mode():
        with pytest.raises(ModelUnavailable, match="not the file that was listed"):
            poor.begin(plain(adapters=INK), 0)
        with pytest.raises(ModelUnavailable, match="not a safetensors file in"):
            poor.begin(plain(adapters=(Adapter(name="out"),)), 0)
        with pytest.raises(BadInput, match="control_absent"):
            poor.begin(
                plain(control=Control(kind=ControlKind.POSE, source=source("start"))), 0, PICTURES
            )
        with pytest.raises(BadInput, match="reference_absent"):
            poor.begin(plain(reference=source("start")), 0, PICTURES)


def test_a_lora_without_its_neighbour_is_not_left_on(kind: str, tmp_path: Path) -> None:
    """Two are asked for, the second's file is gone: the next picture must not get the first."""
    pipe = pipeline(kind)
    cards = [lora(tmp_path, "ink", pipe, 1), lora(tmp_path, "snow", pipe, 2)]
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    registry = Registry(
        {"tiny": CARD, "talk": talk}, {}, "tiny", "talk", {c.name: c for c in cards}
    )
    here = runner_of(pipe, registry, tmp_path)
    (before,) = together(here, [plain()])
    (tmp_path / "snow.safetensors").unlink()
    both = plain(adapters=(*INK, Adapter(name="snow")))
    with pytest.raises(ModelUnavailable, match="snow"):
        together(here, [both])
    assert together(here, [plain()])[0].sha256 == before.sha256


def test_what_stands_beside_a_model_moves_with_it(tmp_path: Path) -> None:
    """A parked model leaves no ControlNet and no image encoder on the device."""
    pipe = pipeline("sd15")
    cards = [control(tmp_path, pipe), reference(tmp_path, pipe)]
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    registry = Registry(
        {"tiny": CARD, "talk": talk}, {}, "tiny", "talk", {c.name: c for c in cards}
    )
    here = runner_of(pipe, registry, tmp_path)
    wish = plain(
        control=Control(kind=ControlKind.CANNY, source=source("start")), reference=source("start")
    )
    net, like = hook(here, wish, 2)._net, hook(here, wish, 0)._adapters.reference()
    parts = [net, like._encoder, like._projection]
    parts += [p for p in like._referring.values() if isinstance(p, torch.nn.Module)]
    here.move("meta")
    assert len(parts) > 3
    assert {p.device.type for part in parts for p in part.parameters()} == {"meta"}
    assert here.family.denoiser.device.type == "meta"


def test_clip_sees_the_middle_in_its_own_colours() -> None:
    image = Image.new("RGB", (60, 40), (255, 0, 0))
    seen = clip_pixels(image, 32)
    assert seen.shape == (1, 3, 32, 32)
    assert float(seen[0, 0].mean()) == pytest.approx((1 - 0.48145466) / 0.26862954, rel=1e-5)


# ---- transformers -------------------------------------------------------------------------------


def transformer_lora(folder: Path, name: str, pipe: Any, seed: int) -> AdapterCard:
    """A random LoRA of a tiny transformer, named as diffusers names one."""
    torch.manual_seed(seed)
    net = copy.deepcopy(pipe.transformer)
    net.add_adapter(
        LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"])
    )
    from peft.utils import get_peft_model_state_dict

    state = {f"transformer.{k}": v.contiguous() for k, v in get_peft_model_state_dict(net).items()}
    return listed(folder, name, "lora", f"{name}.safetensors", state)


@pytest.mark.parametrize("kind", ["klein", "z-image"])
def test_transformers_take_loras_as_their_pipelines_do(kind: str, tmp_path: Path) -> None:
    pipe = pipeline(kind)
    cards = [transformer_lora(tmp_path, name, pipe, n) for n, name in enumerate(("ink", "snow"))]
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    registry = Registry(
        {"tiny": CARD, "talk": talk}, {}, "tiny", "talk", {c.name: c for c in cards}
    )
    here = runner_of(pipe, registry, tmp_path)
    bare = plain(scheduler="own")
    (before,) = together(here, [bare])
    both = plain(scheduler="own", adapters=(*INK, Adapter(name="snow", weight=-0.5)))
    (ours,) = together(here, [both])
    theirs = through(type(pipe).__name__, here, bare, width=SIDE, height=SIDE)  # both still on
    assert ours.sha256 == pixels.digest(theirs) != before.sha256
    assert set(ours.recipe["adapters_sha256"]) == {"ink", "snow"}
    assert together(here, [bare])[0].sha256 == before.sha256, "off again, to the bit"
    wishes = [bare, both, plain(scheduler="own", adapters=INK, seed=9, steps=3), both]
    alone = [together(here, [one])[0].sha256 for one in wishes]
    assert [made.sha256 for made in together(here, wishes)] == alone
    with pytest.raises(BadInput):
        together(here, [plain(scheduler="own", reference=source("start"))] if kind == "z-image"
                 else [plain(scheduler="own", control=Control(
                     kind=ControlKind.CANNY, source=source("start")))])  # fmt: skip


def test_packed_weights_take_loras_too(tmp_path: Path) -> None:
    """An 8 GB card draws with klein in four bits: its members want LoRAs as well."""
    pipe = copy.deepcopy(pipeline("z-image"))
    card = transformer_lora(tmp_path, "ink", pipe, 1)
    assert shrink(pipe.transformer, "4-bit") > 4
    talk = CARD.model_copy(update={"name": "talk", "kind": JobKind.CHAT})
    registry = Registry({"tiny": CARD, "talk": talk}, {}, "tiny", "talk", {"ink": card})
    here = runner_of(pipe, registry, tmp_path)
    bare, inked = plain(scheduler="own"), plain(scheduler="own", adapters=INK)
    alone = [together(here, [one])[0].sha256 for one in (bare, inked)]
    assert alone[0] != alone[1]
    assert [made.sha256 for made in together(here, [bare, inked, bare])] == [*alone, alone[0]]
