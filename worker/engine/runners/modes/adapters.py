"""LoRAs for one loaded model; reference pictures (IP-Adapter) and textual inversion for UNets.

One object a loaded model keeps what is loaded and what is switched on; a picture's hook names what
it needs in its tag, so that only pictures with the same LoRAs at the same weights share a pass.
Files are safetensors from the operator's list; each is hashed before it is read.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from storage.errors import BadInput
from storage.registry import AdapterCard, Registry
from storage.schema import Adapter, ImageSpec
from worker.engine.errors import ModelUnavailable
from worker.engine.exact import make_exact
from worker.engine.runners.base import Pictures
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.unet import UNetFamily
from worker.engine.runners.work import Hook, ImageWork, Row

LOADED_MAX = 4
"""LoRAs kept beside the model; the one unused for longest makes room."""
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""What CLIP's vision towers were trained on (openai/CLIP, ``clip.py``)."""


def checked(folder: Path, card: AdapterCard) -> Path:
    """The adapter's file, its hash compared. Raises ``ModelUnavailable`` with a cure."""
    path = folder / card.file
    if path.suffix != ".safetensors" or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelUnavailable(
            f"adapter {card.name!r} is not a safetensors file in {folder}",
            "name such a file in registry.toml",
        )
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(
            f"adapter {card.name!r} cannot be read ({error.strerror})", f"put its file at {path}"
        ) from error
    if found != card.sha256:
        raise ModelUnavailable(
            f"adapter {card.name!r} is not the file that was listed (sha256 {found[:12]}…)",
            f"replace {path}, or correct its sha256 in registry.toml if the change was meant",
        )
    return path


class Adapters:
    """What is loaded beside a model and what of it is on. Lives on the engine thread."""

    def __init__(self, family: Family, registry: Registry, model: str, folder: Path) -> None:
        self.family = family
        self._registry = registry
        self._model = model
        self._folder = folder
        self._loras: OrderedDict[str, str] = OrderedDict()
        """Name in the registry to name in peft, by least recent use."""
        self._active: tuple[Adapter, ...] | None = ()
        """None: a switch failed half-way, and nobody knows what is on."""
        self._reference: Reference | None = None
        self._referring: float | None = None
        self.tokens = self._load_tokens()

    # ---- textual inversion -----------------------------------------------------------------

    def _load_tokens(self) -> tuple[str, ...]:
        """Teaches the tokenizer every listed token at once: they change nothing until written."""
        tokens: list[str] = []
        if not isinstance(self.family, UNetFamily):
            return ()
        for card in self._registry.adapters_for(self._model, "embedding"):
            state = load_file(checked(self._folder, card))
            token = card.token or card.name
            pipe = self.family.pipe
            pipe.load_textual_inversion(state, token=token)
            tokens.append(token)
        return tuple(tokens)

    # ---- switching -------------------------------------------------------------------------

    def activate(self, wanted: tuple[Adapter, ...], reference: float | None) -> None:
        """Switches exactly these LoRAs and this reference scale on (None: no reference).

        Raises ``ModelUnavailable`` for a file that is missing or not the listed one.
        """
        if wanted != self._active:
            self._switch(wanted)
        if reference != self._referring:
            self.reference().switch(reference)
            self._referring = reference

    def _switch(self, wanted: tuple[Adapter, ...]) -> None:
        pipe = self.family.pipe
        # Until it is done. A LoRA is on as soon as it is loaded: if the next one's file is missing,
        # the next picture must not take it for off.
        self._active = None
        if not wanted:
            if self._loras:
                pipe.disable_lora()
            self._active = ()
            return
        for adapter in wanted:
            self._ensure(adapter.name)
        names = [self._loras[a.name] for a in wanted]
        pipe.enable_lora()
        pipe.set_adapters(names, [a.weight for a in wanted])
        self._active = wanted
        needed = {a.name for a in wanted}
        for old in [name for name in self._loras if name not in needed]:
            if len(self._loras) <= LOADED_MAX:
                break
            pipe.delete_adapters(self._loras.pop(old))

    def _ensure(self, name: str) -> None:
        if name in self._loras:
            self._loras.move_to_end(name)
            return
        card = self._registry.adapter(name, "lora", self._model)
        state = load_file(checked(self._folder, card))
        inner = "lora_" + hashlib.sha256(name.encode()).hexdigest()[:12]  # peft allows no dots
        try:
            self.family.pipe.load_lora_weights(state, adapter_name=inner)
        except (ValueError, RuntimeError, KeyError) as error:
            # Its first half may be on already: nobody's next picture is to be drawn with it.
            self.family.pipe.unload_lora_weights()
            self._loras.clear()
            raise ModelUnavailable(
                f"LoRA {name!r} does not fit {self._model} ({str(error).splitlines()[0][:120]})",
                "take it off this model's list in registry.toml",
            ) from error
        self._loras[name] = inner
        if self.family.exact:
            make_exact(self.family.denoiser)

    # ---- reference pictures ------------------------------------------------------------------

    def reference(self) -> Reference:
        """The IP-Adapter, loaded when first asked for. Raises ``BadInput('reference_absent')``."""
        if self._reference is None:
            cards = self._registry.adapters_for(self._model, "reference")
            if not cards or not isinstance(self.family, UNetFamily):
                raise BadInput("reference_absent")
            path = checked(self._folder, cards[0])
            self._reference = Reference(self.family, path)
        return self._reference

    def move(self, device: str) -> None:
        """To RAM and back, with the model: LoRAs are part of it, a reference is not while off."""
        if self._reference is not None:
            self._reference.move(device)


class Reference:
    """An IP-Adapter (Ye et al. 2023, arXiv 2308.06721) that can be switched on and off.

    The image encoder lies in ``image_encoder/`` beside the adapter's file.
    """

    def __init__(self, family: UNetFamily, path: Path) -> None:
        from transformers import CLIPVisionModelWithProjection

        self._unet = family.pipe.unet
        self._device, self._dtype = family.device, family.dtype
        state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in load_file(path).items():
            part, _, rest = name.partition(".")
            if part not in state:
                raise ModelUnavailable(f"{path.name} is no IP-Adapter", "list another file")
            state[part][rest] = tensor
        load: Any = CLIPVisionModelWithProjection.from_pretrained
        encoder = load(path.parent / "image_encoder", dtype=family.dtype, use_safetensors=True)
        self._encoder = encoder.to(family.device).eval()
        self._plain = self._unet.attn_processors
        self._plain_type = self._unet.config.encoder_hid_dim_type
        self._plain_projection = self._unet.encoder_hid_proj
        self._unet._load_ip_adapter_weights([state])
        self._referring = self._unet.attn_processors
        self._projection = self._unet.encoder_hid_proj
        if family.exact:
            make_exact(self._projection)
            for processor in self._referring.values():
                if isinstance(processor, torch.nn.Module):
                    make_exact(processor)
        self._on(False)

    def _on(self, on: bool) -> None:
        self._unet.set_attn_processor(dict(self._referring if on else self._plain))
        self._unet.encoder_hid_proj = self._projection if on else self._plain_projection
        kind = "ip_image_proj" if on else self._plain_type
        self._unet.register_to_config(encoder_hid_dim_type=kind)

    def switch(self, scale: float | None) -> None:
        """On at a scale (0 to 1), or off."""
        self._on(scale is not None)
        if scale is None:
            return
        for processor in self._referring.values():
            if hasattr(processor, "scale"):
                processor.scale = [scale]

    def move(self, device: str) -> None:
        """To a device: encoder, projection and what stands in for the attention's processors."""
        self._encoder.to(device)
        self._projection.to(device)
        for processor in self._referring.values():
            if isinstance(processor, torch.nn.Module):
                processor.to(device)

    def embed(self, image: Image.Image) -> Tensor:
        """``[1, 1, width]``: what the picture shows, as the adapter reads it."""
        side = int(self._encoder.config.image_size)
        pixels = clip_pixels(image, side).to(self._device, self._dtype)
        embedded: Tensor = self._encoder(pixels).image_embeds
        return embedded[:, None]


def clip_pixels(image: Image.Image, side: int) -> Tensor:
    """``[1, 3, side, side]`` as CLIP's image processor makes it: bicubic, centre, normalised."""
    image = image.convert("RGB")
    scale = side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image, np.float32) / 255
    pixels = (pixels - np.array(_CLIP_MEAN, np.float32)) / np.array(_CLIP_DEVIATION, np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


class AdapterHook(Hook):
    """Puts a picture's LoRAs and reference on before each of its passes, and all others off.

    Every picture of a model that has adapters gets one, also a plain one: it must not be drawn
    with what the picture before it left switched on.
    """

    def __init__(self, adapters: Adapters, spec: ImageSpec, pictures: Pictures) -> None:
        self._adapters = adapters
        self._wanted = tuple(sorted(spec.adapters, key=lambda a: a.name))
        # Others read references by themselves (FLUX.2-klein), or refuse them.
        unet = isinstance(adapters.family, UNetFamily)
        refers = spec.reference is not None and unet
        self._scale = spec.reference_scale if refers else None
        self._embeds: Tensor | None = None
        adapters.activate(self._wanted, self._scale)  # the text encoder may be read from now on
        if refers:
            read = adapters.reference().embed
            self._embeds = torch.cat([read(pictures[s.blob]) for s in spec.references], dim=1)
        loras = "+".join(f"{a.name}:{a.weight:g}" for a in self._wanted)
        several = len(spec.references)
        scale = "" if self._scale is None else f"reference:{self._scale:g}x{several}"
        self.network = loras
        self.tag = ";".join(part for part in (loras, scale) if part)

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """Only notes the files' hashes in the recipe."""
        if self._wanted:
            known = self._adapters._registry.adapters
            work.recipe["adapters_sha256"] = {a.name: known[a.name].sha256 for a in self._wanted}
        return None

    def activate(self, family: Family) -> None:
        """Quick when the same are on already."""
        self._adapters.activate(self._wanted, self._scale)

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """The references' embeddings for the prompt's row, zeros for the negative's."""
        if self._embeds is None:
            return rows
        for place, row in enumerate(rows):
            last = place == len(rows) - 1
            row.extras["image_embeds"] = [self._embeds if last else torch.zeros_like(self._embeds)]
        return rows
