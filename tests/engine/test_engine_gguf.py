"""Transformers in GGUF files: the very numbers of the file, smaller, alike in any company."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import diffusers
import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from pydantic import ValidationError

from storage.cache import keys_of
from storage.presence import is_present
from storage.recipes import spec_of
from storage.registry import ModelCard, Registry
from storage.schema import JobKind
from tests.engine.alone import alone, spec, together
from tests.engine.others import other
from tests.engine.test_engine_quantise import hub, registry_of
from worker.bench.tiny import pipeline
from worker.engine.errors import ModelUnavailable
from worker.engine.loading import load
from worker.engine.runners.fallback import FallbackRunner
from worker.engine.runners.image import ImageRunner

FILE = f"someone/packed@{'1' * 40}:tiny-Q.gguf"


def wide(kind: str) -> Any:
    """A tiny pipeline whose transformer has widths that a block of 32 weights divides."""
    pipe = copy.copy(pipeline(kind))
    if kind == "klein":
        torch.manual_seed(3)
        config = dict(pipe.transformer.config) | {
            "attention_head_dim": 16, "axes_dims_rope": (4, 4, 4, 4), "joint_attention_dim": 48,
        }  # fmt: skip
        library: Any = diffusers.Flux2Transformer2DModel
        pipe.transformer = library.from_config(config).eval()
    return pipe


def written(path: Path, state: dict[str, torch.Tensor], kind: Kind) -> dict[str, torch.Tensor]:
    """Writes weights as such files hold them; gives back what is in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "tiny")
    held = {}
    for name, tensor in state.items():
        values = tensor.float().numpy()
        whole = values.ndim == 2 and values.shape[1] % 32 == 0
        if whole or values.ndim == 1:
            chosen = kind if whole else Kind.BF16  # as norms are stored
            packed = gguf.quantize(values, chosen)
            writer.add_tensor(name, packed, raw_dtype=chosen)
            held[name] = torch.from_numpy(gguf.dequantize(packed, chosen))
        else:
            writer.add_tensor(name, values)
            held[name] = tensor
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


ORIGINAL = {
    "all_final_layer.2-1.": "final_layer.", "all_x_embedder.2-1.": "x_embedder.",
    ".attention.to_out.0.": ".attention.out.", ".attention.norm_k.": ".attention.k_norm.",
    ".attention.norm_q.": ".attention.q_norm.",
}  # fmt: skip


def original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Z-Image's weights as its makers name them: what files on the hub hold."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if ".attention.to_k." in name or ".attention.to_v." in name:
            continue
        if ".attention.to_q." in name:
            rows = [state[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            name, tensor = name.replace("to_q", "qkv"), torch.cat(rows)
        for ours, theirs in ORIGINAL.items():
            name = name.replace(ours, theirs)
        found[name] = tensor
    return found


def packed_card(name: str) -> ModelCard:
    return hub(name, JobKind.IMAGE, "full").model_copy(update={"gguf": FILE})


@pytest.mark.parametrize(
    ("kind", "bits", "names"),
    [("klein", Kind.Q8_0, "ours"), ("klein", Kind.Q4_0, "ours"), ("z-image", Kind.Q4_0, "theirs")],
)
def test_pictures_of_a_gguf_file(kind: str, bits: Kind, names: str, tmp_path: Path) -> None:
    pipe = wide(kind)
    pipe.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    state = pipe.transformer.state_dict()
    file = tmp_path / "tiny-gguf" / "tiny-Q.gguf"
    # Rows are packed one by one, so that the fused ones hold the very numbers of the single ones.
    held = written(tmp_path / "single.gguf", state, bits)
    written(file, original(state) if names == "theirs" else state, bits)
    for weights in (tmp_path / "tiny" / "transformer").glob("*.safetensors"):
        weights.unlink()  # nothing of the full weights is needed
    card = packed_card("tiny")
    small = load(card, registry_of(card), tmp_path, "cpu")
    assert isinstance(small, ImageRunner)
    pipe = copy.deepcopy(pipe)
    pipe.transformer.load_state_dict(held)
    pipe.save_pretrained(tmp_path / "plain", safe_serialization=True)
    plain_card = hub("plain", JobKind.IMAGE, "full")
    plain = load(plain_card, registry_of(plain_card), tmp_path, "cpu")
    assert small.size < plain.size
    wish = spec(model="tiny")
    one, other = alone(plain, spec(model="plain")), alone(small, wish)
    assert torch.allclose(one.latents, other.latents, atol=1e-3)
    assert other.picture.recipe["gguf"] == FILE
    company = [spec(model="tiny", seed=i, prompt=f"p{i}", steps=2 + i) for i in range(2)]
    made = together(small, [wish, *company])
    assert made[0] is not None and made[0].same_bits(other)
    assert alone(small, spec_of(other.picture.recipe)).same_bits(other)


def test_pipelines_nobody_has_taken_apart_read_them_too(tmp_path: Path) -> None:
    pipe = other("flux1-schnell")
    pipe.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    written(tmp_path / "tiny-gguf" / "tiny-Q.gguf", pipe.transformer.state_dict(), Kind.Q8_0)
    card = packed_card("tiny")
    assert isinstance(load(card, registry_of(card), tmp_path, "cpu"), FallbackRunner)


def test_a_pipeline_without_a_transformer_says_so(tmp_path: Path) -> None:
    pipeline("sd15").save_pretrained(tmp_path / "tiny", safe_serialization=True)
    card = packed_card("tiny")
    with pytest.raises(ModelUnavailable, match="reads no GGUF file") as caught:
        load(card, registry_of(card), tmp_path, "cpu")
    assert "registry.toml" in caught.value.cure


def test_a_file_that_is_missing_or_foreign_names_the_cure(tmp_path: Path) -> None:
    wide("klein").save_pretrained(tmp_path / "tiny", safe_serialization=True)
    card = packed_card("tiny")
    file = tmp_path / "tiny-gguf" / "tiny-Q.gguf"
    assert not is_present(card, tmp_path)
    with pytest.raises(ModelUnavailable) as caught:
        load(card, registry_of(card), tmp_path, "cpu")
    assert "tiny-gguf" in caught.value.cure and FILE.partition(":")[0] in caught.value.cure
    file.parent.mkdir()
    file.write_bytes(b"GGUF and then nothing")
    assert is_present(card, tmp_path)
    with pytest.raises(ModelUnavailable):
        load(card, registry_of(card), tmp_path, "cpu")
    file.unlink()
    written(file, pipeline("klein").transformer.state_dict(), Kind.Q8_0)
    with pytest.raises(ModelUnavailable):
        load(card, registry_of(card), tmp_path, "cpu")


@pytest.mark.parametrize("loose", ["a/b:x.gguf", "a/b@main:x.gguf", "a/b@" + "1" * 40])
def test_a_gguf_file_must_be_pinned(loose: str) -> None:
    with pytest.raises(ValidationError):
        ModelCard(**{**packed_card("tiny").model_dump(), "gguf": loose})


def test_other_weights_are_other_recipes() -> None:
    full, small = hub("tiny", JobKind.IMAGE, "full"), packed_card("tiny")
    chat = hub("x", JobKind.CHAT, "full")
    registries = [Registry({"tiny": c, "x": chat}, {}, "tiny", "x") for c in (full, small)]
    wish = spec(model="tiny")
    assert keys_of(wish, registries[0]) != keys_of(wish, registries[1])
