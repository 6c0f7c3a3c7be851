"""From a model's card to a runner: safetensors only, no remote code, pinned revisions."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from storage.registry import ModelCard, Registry
from storage.schema import JobKind
from worker.engine.embeddings import Embeddings
from worker.engine.errors import ModelUnavailable
from worker.engine.memory import is_shortage
from worker.engine.quantise import shrink
from worker.engine.runners.base import Runner
from worker.engine.runners.chat import ChatRunner
from worker.engine.runners.image import ImageRunner
from worker.engine.runners.lanes import Unshareable
from worker.engine.runners.solo import SoloRunner
from worker.engine.runners.vision import load_vision
from worker.engine.sharing import encoder_for, keep, language_model

log = logging.getLogger(__name__)

_FOREIGN = (
    OSError, ValueError, RuntimeError, ImportError, AttributeError, KeyError, TypeError,
    SafetensorError,
)  # fmt: skip
"""What the libraries raise for missing, broken or foreign files (a download that was cut off, an
index without its entries): the model cannot be loaded, and nothing else is wrong."""


def load(
    card: ModelCard,
    registry: Registry,
    models_dir: Path,
    device: str,
    told: Callable[[bool], None] | None = None,
    *,
    compiles: bool = False,
) -> Runner:
    """Loads a model onto ``device`` ("cpu" or "cuda"); blocks for seconds to minutes.

    A starter's files are put in place under ``models_dir`` first. A hub model is read from
    ``models_dir/<name>`` if someone put it there, else from the hub's cache at the pinned
    revision, else downloaded (unless ``HF_HUB_OFFLINE`` forbids). Raises
    :class:`~worker.engine.errors.ModelUnavailable` with a cure. ``told`` hears whether a prompt's
    encoding was kept. ``compiles`` has the denoiser's repeated blocks compiled in the background.
    """
    for library in (diffusers_logging, transformers_logging):
        quiet: Any = library
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
    gc.collect()  # what was evicted to make room may hang in cycles
    if device == "cuda":
        torch.cuda.empty_cache()
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable("no CUDA device was found", "set ATELIER_DEVICE=cpu")
    if card.purpose == "enlarge":
        from worker.engine.runners.upscale import load_upscaler

        return load_upscaler(card, models_dir, device)
    try:
        source, options = _source(registry.cards.get(card.shares, card), models_dir)
        if card.kind is JobKind.IMAGE:
            compiler = "inductor" if compiles else ""
            return _image(card, registry, source, options, device, models_dir, told, compiler)
        return _chat(card, source, options, device)
    except _FOREIGN as error:
        if is_shortage(error):
            raise  # the files are fine: the loader makes room and tries again
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise ModelUnavailable(
            f"model {card.name!r} could not be loaded ({type(error).__name__}: {first})",
            _cure(card, models_dir),
        ) from error


def _cure(card: ModelCard, models_dir: Path) -> str:
    if card.source == "starter":
        return f"delete the folder {models_dir} and start again to put the starter models in place"
    told = (
        f"go online once, or put the safetensors files of {card.repo}@{card.revision} "
        f"into {models_dir / card.name}"
    )
    for kind in ("unet", "gguf"):
        pinned, _, file = getattr(card, kind).partition(":")
        if pinned:
            told += f" and {file or 'those'} of {pinned} into {models_dir / f'{card.name}-{kind}'}"
    return told


def _source(card: ModelCard, models_dir: Path) -> tuple[str, dict[str, Any]]:
    """Where ``from_pretrained`` finds the files, and the options that keep it there."""
    if card.source == "starter":
        # Imported here: the starters bring their own data code, which a hub model does not need.
        if card.kind is JobKind.IMAGE:
            from worker.starter.picture import ensure_picture_model as ensure
        else:
            from worker.starter.chat import ensure_chat_model as ensure
        return str(ensure(models_dir / card.name)), {"local_files_only": True}
    folder = models_dir / card.name
    if folder.is_dir():
        return str(folder), {"local_files_only": True}
    return card.repo, {"revision": card.revision, "cache_dir": str(models_dir / "hub")}


def _dtype(card: ModelCard, device: str) -> torch.dtype:
    """fp32 on a CPU (bf16 is emulated there) and for the small starters, bf16 on a GPU."""
    return torch.bfloat16 if device == "cuda" and card.source == "hub" else torch.float32


def _image(
    card: ModelCard,
    registry: Registry,
    source: str,
    options: dict[str, Any],
    device: str,
    models_dir: Path,
    told: Callable[[bool], None] | None,
    compiler: str,
) -> Runner:
    # Imported only now that the libraries are told to be quiet.
    import diffusers

    from worker.engine.runners.fallback import FallbackRunner
    from worker.engine.runners.families import family_of
    from worker.engine.runners.modes.hooks import Modes

    index: dict[str, Any] = diffusers.DiffusionPipeline.load_config(source, **options)
    name = index["_class_name"]
    family = family_of(name)
    dtype = _dtype(card, device)
    parts: dict[str, Any] = {}
    if card.gguf:
        from worker.engine.ggufs import packed_transformer

        parts["transformer"] = packed_transformer(card, index, source, options, models_dir, dtype)
    if family is None:
        kind: Any = getattr(diffusers, str(name), None)
        if kind is None:
            raise ModelUnavailable(
                f"model {card.name!r} is a {name}, which diffusers does not know",
                "choose a checkpoint of a diffusers text-to-image pipeline",
            )
        pipe = kind.from_pretrained(source, dtype=dtype, use_safetensors=True, **options, **parts)
        with torch.inference_mode():
            return FallbackRunner(card, registry, pipe.to(device), device)
    encoder = encoder_for(card.name)
    if encoder is not None:
        # `/ask` has loaded it already: one set of weights for both.
        parts["text_encoder"] = encoder
    if card.unet:
        from worker.engine.unets import replaced_unet

        parts["unet"] = replaced_unet(card, source, options, models_dir, dtype)
    pipe = family.load(source, dtype, {**options, **parts})
    if card.sampler_settings:
        own = pipe.scheduler
        pipe.scheduler = type(own).from_config(own.config, **card.sampler_settings)
    if card.precision != "full":
        shrink(getattr(pipe, "transformer", None) or pipe.unet, card.precision)
        for name in ("text_encoder", "text_encoder_2"):
            if name not in parts:  # a twin's layers are packed already
                shrink(getattr(pipe, name, None) or torch.nn.Identity(), card.precision)
    keep(card.name, getattr(pipe, "text_encoder", None))
    pipe.to(device)
    with torch.inference_mode():
        loaded = family(pipe, device)
        modes = Modes(loaded, registry, card.name, models_dir / "adapters")
        kept = Embeddings(told=told)
        return ImageRunner(
            card, registry, loaded, hooks=modes.hooks, embeddings=kept, compiler=compiler,
            beside=modes.move,
        )  # fmt: skip


def _chat(card: ModelCard, source: str, options: dict[str, Any], device: str) -> Runner:
    dtype = _dtype(card, device)
    if card.vision:
        return load_vision(card, source, {**options, "dtype": dtype}, device)
    if card.shares:
        model: Any = language_model(card, source, options, dtype)
        options = {**options, "subfolder": "tokenizer"}
    else:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
        )
        shrink(model, card.precision)
    tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    model.to(device).eval()
    with torch.inference_mode():
        try:
            return ChatRunner(card, model, tokenizer, device)
        except Unshareable as reason:
            log.info("answers of %s are stepped one by one (%s)", card.name, reason)
            return SoloRunner(card, model, tokenizer, device)
