"""Loading from disk: the same picture as in memory, safetensors only, and a cure when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from storage.registry import ModelCard, Registry
from storage.schema import ChatSpec, Grade, ImageSpec, JobKind
from worker.bench.tiny import pipeline
from worker.engine.engine import Engine
from worker.engine.errors import ModelUnavailable
from worker.engine.loading import load
from worker.engine.outputs import Answer, Picture
from worker.engine.runners.image import ImageRunner


def hub(name: str, kind: JobKind) -> ModelCard:
    return ModelCard(
        name=name, title=name, kind=kind, source="hub", repo="someone/" + name,
        revision="0" * 40, licence="none", size_bytes=0, memory_bytes=0, width=64, height=64,
        context_tokens=256,
    )  # fmt: skip


@pytest.fixture
def on_disk(stock_pipe: Any, chat_model: tuple[Any, Any], tmp_path: Path) -> Path:
    stock_pipe.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    model, tokenizer = chat_model
    model.save_pretrained(tmp_path / "talk")
    tokenizer.save_pretrained(tmp_path / "talk")
    return tmp_path


async def test_from_disk_as_from_memory(
    on_disk: Path,
    engine: Engine,
    image_spec: Callable[..., ImageSpec],
    chat_spec: Callable[..., ChatSpec],
) -> None:
    cards = {"tiny": hub("tiny", JobKind.IMAGE), "talk": hub("talk", JobKind.CHAT)}
    loaded = Engine(Registry(cards, {}, "tiny", "talk"), on_disk)
    await loaded.start()
    await loaded.warm(["tiny", "talk"])
    assert loaded.loaded() == ["talk", "tiny"]
    specs = [image_spec(), chat_spec()]
    ends = await asyncio.gather(*(last(e, s) for e in (loaded, engine) for s in specs))
    await loaded.stop()
    assert isinstance(ends[0], Picture) and isinstance(ends[2], Picture)
    assert ends[0].sha256 == ends[2].sha256
    assert ends[0].recipe["revision"] == "0" * 40
    assert isinstance(ends[1], Answer) and isinstance(ends[3], Answer)
    assert ends[1].text == ends[3].text


def test_compiling_is_asked_for_at_load(on_disk: Path, registry: Registry) -> None:
    """And never by itself on a CPU, where it would cost exactness."""
    card = hub("tiny", JobKind.IMAGE)
    asked, plain = (
        load(card, registry, on_disk, "cpu", compiles=compiles) for compiles in (True, False)
    )
    assert isinstance(asked, ImageRunner) and isinstance(plain, ImageRunner)
    assert asked.compiled is not None and asked.compiled.backend == "inductor"
    assert plain.compiled is None
    assert (asked.grade, plain.grade) == (Grade.REPLAY, Grade.EXACT)
    assert Engine(registry, on_disk).compiles is False
    assert Engine(registry, on_disk, device="cuda").compiles is True


async def last(engine: Engine, spec: ImageSpec | ChatSpec) -> Any:
    return [o async for o in engine.submit("j", spec)][-1]


@pytest.mark.parametrize("name", ["tiny", "talk"])
def test_a_missing_model_names_the_cure(name: str, registry: Registry, tmp_path: Path) -> None:
    card = hub(name, registry.cards[name].kind)
    with pytest.raises(ModelUnavailable) as caught:
        load(card, registry, tmp_path, "cpu")
    assert f"someone/{name}@{'0' * 40}" in caught.value.cure
    assert str(tmp_path / name) in caught.value.cure


def test_pickled_weights_are_refused(on_disk: Path, registry: Registry) -> None:
    unet = on_disk / "tiny" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, unet / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelUnavailable):
        load(hub("tiny", JobKind.IMAGE), registry, on_disk, "cpu")


def cut_off(folder: Path) -> None:
    """As a download that ended early leaves it."""
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])


def index_without_class(folder: Path) -> None:
    (folder / "model_index.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "part", "damage"),
    [("tiny", "unet", cut_off), ("tiny", "vae", cut_off), ("talk", "", cut_off),
     ("tiny", "", index_without_class)],
)  # fmt: skip
def test_broken_files_name_the_cure(
    name: str, part: str, damage: Callable[[Path], None], on_disk: Path, registry: Registry
) -> None:
    """No bug of ours, and no reason to stop the worker: the other model still works."""
    damage(on_disk / name / part)
    with pytest.raises(ModelUnavailable) as caught:
        load(hub(name, registry.cards[name].kind), registry, on_disk, "cpu")
    assert f"someone/{name}@" in caught.value.cure


def test_a_pipeline_that_is_no_text_to_image_is_refused(on_disk: Path, registry: Registry) -> None:
    index = on_disk / "tiny" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "DDPMPipeline"))
    with pytest.raises(ModelUnavailable, match="DDPMPipeline"):
        load(hub("tiny", JobKind.IMAGE), registry, on_disk, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu_is_said_plainly(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        load(hub("tiny", JobKind.IMAGE), registry, tmp_path, "cuda")
    assert "cpu" in caught.value.cure


def test_a_distilled_unet_takes_the_place_of_the_base(
    stock_pipe: Any, registry: Registry, tmp_path: Path, image_spec: Callable[..., ImageSpec]
) -> None:
    """SDXL-Lightning and its kind: bare weights in one file, and their own spacing of steps."""
    stock_pipe.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    (tmp_path / "tiny-unet").mkdir()
    other = {name: value * 1.1 for name, value in stock_pipe.unet.state_dict().items()}
    save_file(other, tmp_path / "tiny-unet" / "four.safetensors")
    card = hub("tiny", JobKind.IMAGE).model_copy(
        update={
            "unet": f"someone/fast@{'1' * 40}:four.safetensors",
            "sampler_settings": {"timestep_spacing": "trailing"},
        }
    )
    runner = load(card, registry, tmp_path, "cpu")
    assert isinstance(runner, ImageRunner)
    found = runner.family.denoiser.state_dict()
    assert all(torch.equal(found[name], value) for name, value in other.items())
    with torch.inference_mode():
        work = runner.begin(image_spec(scheduler="euler", steps=4), 0)
    assert work.timesteps.tolist() == [999.0, 749.0, 499.0, 249.0]


def test_a_distilled_unet_may_be_a_folder(
    stock_pipe: Any, registry: Registry, tmp_path: Path
) -> None:
    """LCM's are: they bring a config, with the guidance embedding that the base lacks."""
    stock_pipe.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    pipeline("sd-lcm").unet.save_pretrained(tmp_path / "tiny-unet")
    card = hub("tiny", JobKind.IMAGE).model_copy(update={"unet": f"someone/lcm@{'1' * 40}"})
    runner = load(card, registry, tmp_path, "cpu")
    assert isinstance(runner, ImageRunner)
    assert runner.family.denoiser.config.time_cond_proj_dim == 12


@pytest.mark.parametrize("loose", ["a/b", "a/b@main", "a/b@" + "1" * 40 + ":x.bin", "../x@1"])
def test_a_unet_must_be_pinned_safetensors(loose: str) -> None:
    with pytest.raises(ValidationError):
        ModelCard(**{**hub("tiny", JobKind.IMAGE).model_dump(), "unet": loose})
