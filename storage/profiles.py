"""Which models fit a machine, and why: a pure function of its memory. Used by doctor and models.

Sizes are the published ones (gigabytes of 10^9 bytes) and what is left for keys, values and
activations; none has been tried on each card by us, and what is printed says so. Every default
is free for any use, commercial use included: no research-only, community or responsible-use
licence is ever proposed.
"""

from __future__ import annotations

from enum import StrEnum

from storage.schema import Frozen

FREE = frozenset({"Apache-2.0", "MIT", "AGPL-3.0-or-later"})
"""Licences a default may have."""
_USABLE = 0.92
"""Share of a card's memory that models may fill; the rest is the driver's and the desktop's."""


class Precision(StrEnum):
    """How weights are stored: fewer bits fit smaller cards and change answers a little."""

    FULL = "full"  # as published: bf16 on a GPU, fp32 on a CPU
    EIGHT = "8-bit"
    FOUR = "4-bit"
    GGUF = "gguf"  # 4-bit blocks in one file, for llama.cpp


class Choice(Frozen):
    """One model at one precision. ``gigabytes`` is what its weights take."""

    model: str
    precision: Precision
    gigabytes: float
    licence: str
    how: str
    """What the operator sets."""


class Profile(Frozen):
    """What to run on a machine of at least ``gigabytes`` of GPU memory (0: no GPU)."""

    name: str
    gigabytes: int
    image: Choice
    chat: Choice
    shared: bool
    """Whether picture and chat model use one set of weights; then ``chat`` adds no bytes."""
    why: str

    @property
    def total(self) -> float:
        """Gigabytes of weights of both, shared ones counted once."""
        return round(self.image.gigabytes + (0 if self.shared else self.chat.gigabytes), 2)


def _choice(
    model: str, gigabytes: float, how: str, precision: Precision = Precision.FULL,
    licence: str = "Apache-2.0",
) -> Choice:  # fmt: skip
    return Choice(model=model, precision=precision, gigabytes=gigabytes, licence=licence, how=how)


_NOTHING = "nothing: it is the default"
_STARTER_IMAGE = _choice("starter-icons", 0.2, _NOTHING, licence="AGPL-3.0-or-later")
_STARTER_CHAT = _choice("smollm2-135m", 0.54, _NOTHING)


def _klein(precision: Precision, gigabytes: float) -> Choice:
    how = f"ATELIER_IMAGE_MODEL=flux2-klein-4b, ATELIER_PRECISION={precision}"
    return _choice("black-forest-labs/FLUX.2-klein-4B", gigabytes, how, precision)


def _qwen(precision: Precision, gigabytes: float, how: str) -> Choice:
    return _choice("Qwen/Qwen3-4B", gigabytes, how, precision)


_SHARED = "ATELIER_CHAT_MODEL=shared (the picture model's own text encoder)"
_SERVER = "ATELIER_CHAT_PROVIDERS=llamacpp=http://127.0.0.1:8080/v1#Qwen3-4B"

PROFILES: tuple[Profile, ...] = (
    Profile(
        name="cpu", gigabytes=0, image=_STARTER_IMAGE, chat=_STARTER_CHAT, shared=False,
        why="without a GPU only small models answer within seconds; both stay in memory",
    ),
    Profile(
        name="6 GB", gigabytes=6, image=_STARTER_IMAGE,
        chat=_qwen(Precision.GGUF, 2.6, _SERVER), shared=False,
        why="no free picture model of size fits beside its text encoder; a GGUF file in llama.cpp "
            "answers well here, and may use the machine's own memory for what does not fit",
    ),
    Profile(
        name="8 GB", gigabytes=8, image=_klein(Precision.FOUR, 4.9),
        chat=_qwen(Precision.FOUR, 2.6, _SHARED), shared=True,
        why="4 bits for the denoiser (2.3) and the text encoder (2.6), which answers /ask too; "
            "two gigabytes stay for pictures of 512 to 768 px and for long conversations",
    ),
    Profile(
        name="12 GB", gigabytes=12, image=_klein(Precision.EIGHT, 8.3),
        chat=_qwen(Precision.EIGHT, 4.2, _SHARED), shared=True,
        why="8 bits for the denoiser (4.1) and the text encoder (4.2), and the same encoder "
            "answers /ask",
    ),
    Profile(
        name="24 GB", gigabytes=24, image=_klein(Precision.FULL, 15.8),
        chat=_qwen(Precision.FULL, 8.05, _SHARED), shared=True,
        why="everything at full precision; sharing one Qwen3-4B saves 8 GB, which hold two "
            "gigabytes of keys and values and the largest pictures",
    ),
    Profile(
        name="80 GB", gigabytes=80,
        image=_choice(
            "Tongyi-MAI/Z-Image-Turbo", 20.4,
            "ATELIER_IMAGE_MODEL=Tongyi-MAI/Z-Image-Turbo@<commit>",
        ),
        chat=_choice(
            "openai/gpt-oss-20b", 13.8, "ATELIER_CHAT_MODEL=openai/gpt-oss-20b@<commit>, or a "
            "larger one by ATELIER_CHAT_PROVIDERS", Precision.FOUR,
        ),
        shared=False,
        why="room for a better model of each kind side by side, nothing is ever evicted",
    ),
)  # fmt: skip


def profile_for(gpu_bytes: int) -> Profile:
    """The largest profile for a GPU of ``gpu_bytes`` bytes of memory; 0 means there is none.

    Cards report a little less than their name says, so that a tenth less still counts. A card
    below the smallest gets the CPU's models: they are small enough for any.
    """
    gigabytes = gpu_bytes / 1e9
    fitting = [p for p in PROFILES if p.gigabytes * 0.9 <= gigabytes]
    return fitting[-1]


def fits(profile: Profile) -> bool:
    """Whether a profile's weights leave room on the card it is meant for."""
    return profile.gigabytes == 0 or profile.total <= profile.gigabytes * _USABLE


def describe(profile: Profile) -> str:
    """A profile in one line for a terminal: what, how precise, how large, and why."""
    image, chat = profile.image, profile.chat
    weights = "one set of weights" if profile.shared else "side by side"
    return (
        f"suggested for this machine ({profile.name}): {image.model} ({image.precision}) and "
        f"{chat.model} ({chat.precision}), {weights}, {profile.total:g} GB, because {profile.why}"
    )
