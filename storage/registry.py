"""The one list of models: what each is, where it comes from, what it needs, how it is priced.

``models.toml`` beside this file is ours. Whoever runs a studio adds models, styles and adapters in
a file of the same form, ``registry.toml`` in the state folder: what it names replaces ours.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from storage.errors import NotFound, OperatorError
from storage.providers import Provider, parse_providers
from storage.schema import ControlKind, Frozen, JobKind

_FILE = Path(__file__).with_name("models.toml")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class ModelCard(Frozen):
    """One model as members, admins and the worker see it.

    Sizes are in pixels, ``size_bytes`` is the download or the files on disk, ``memory_bytes`` the
    resident weights, ``step_ms`` the first guess of one denoising step at the native size on the
    slowest machine we support (the engine measures its own), ``token_ms`` the same for a token.
    """

    name: str
    title: str
    kind: JobKind
    source: Literal["starter", "hub", "remote"]
    """*remote*: asked of a server that speaks the OpenAI protocol, not run here."""
    repo: str = ""
    """Hub repository, or the package that carries a starter's files."""
    revision: str = ""
    """Pinned commit of a hub model; a moving branch is refused."""
    licence: str
    size_bytes: int = Field(ge=0)
    memory_bytes: int = Field(ge=0)
    factor: int = Field(default=1, ge=1)
    """Price factor: credits are multiplied by it."""
    purpose: Literal["draw", "enlarge"] = "draw"
    """``enlarge``: an upscaler. ``width`` x ``height`` pixels of its result cost one credit and
    take ``step_ms``; ``max_side`` is the longest side of a result."""
    sha256: str = ""
    """Of the one file of an upscaler that is not a starter; checked before it is read."""

    width: int = 128
    height: int = 128
    max_side: int = 256
    steps: int = 20
    max_steps: int = 100
    guidance: float = 4.0
    scheduler: str = "ddim"
    schedulers: tuple[str, ...] = (
        "ddim",
        "euler",
        "euler_a",
        "dpmpp_2m",
        "dpmpp_2m_karras",
        "lcm",
        "unipc",
    )
    """Samplers a member may choose; those the model's family can use."""
    sampler_settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Settings of the checkpoint's scheduler to override, by diffusers' names: a distilled
    denoiser may want other ``timestep_spacing`` than its base."""
    unet: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][\w.-]*/[\w.-]+@[0-9a-f]{40}(:[\w][\w./-]*\.safetensors)?)?$",
    )
    """A UNet to use instead of the base's: ``owner/name@commit``, or with ``:file`` one file."""
    gguf: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][\w.-]*/[\w.-]+@[0-9a-f]{40}:[\w][\w./-]*\.gguf)?$",
    )
    """A GGUF file to use instead of the transformer's own weights: ``owner/name@commit:file``."""
    step_ms: int = 60
    precision: Literal["full", "8-bit", "4-bit"] = "full"
    """How the linear layers of a hub model are stored; fewer bits fit smaller cards. Made from
    the full weights at each load."""

    context_tokens: int = 2048
    max_tokens: int = 256
    temperature: float = 0.2
    repetition_penalty: float = Field(default=1.0, ge=0.5, le=2.0)
    """Divides the scores of words said before; small models loop without it."""
    token_ms: int = 80
    languages: tuple[str, ...] = ("en",)
    """Languages of prompts and questions it reads."""
    references: int = Field(default=0, ge=0, le=4)
    """Pictures it reads beside the prompt by itself; others need an adapter for that."""
    prompt_tokens: int = 77
    """Tokens of a prompt a picture model reads."""
    vision: bool = False
    """Whether it reads pictures."""
    shares: str = ""
    """The picture model whose text encoder's weights it uses: one set of bytes for both."""
    providers: tuple[Provider, ...] = ()
    """Where a *remote* model is asked, in fallback order."""

    @property
    def exact_revision(self) -> str:
        """What decides its results: the weights, what stands in for some, how they are stored."""
        precision = "" if self.precision == "full" else self.precision
        return ":".join(filter(None, (self.revision, precision, self.unet, self.gguf)))


class AdapterCard(Frozen):
    """Something small that changes what a picture model does, by name.

    Files are safetensors in ``adapters/`` of the models folder, named by ``file`` (a file, or the
    folder of a ControlNet or image encoder); ``sha256`` is that of the file, or of a folder's
    largest safetensors, and is checked before anything is read.
    """

    name: str = Field(pattern=r"^[\w.-]{1,64}$")
    title: str = ""
    kind: Literal["lora", "embedding", "control", "reference", "annotator"]
    file: str = Field(pattern=r"^[\w][\w./-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    models: tuple[str, ...] = ()
    """Models it fits; empty means all."""
    licence: str = "unknown"
    weight: float = Field(default=1.0, ge=-2.0, le=2.0)
    """A LoRA's weight where none is given."""
    token: str = ""
    """The word a textual inversion answers to."""
    control: ControlKind | None = None
    """What a ControlNet reads, or an annotator makes."""

    def fits(self, model: str) -> bool:
        """Whether it is meant for a model."""
        return not self.models or model in self.models


class Style(Frozen):
    """A named template around a prompt; ``{prompt}`` marks the place."""

    name: str
    template: str
    negative: str = ""
    models: tuple[str, ...] = ()
    """Models it is meant for; empty means all."""
    not_models: tuple[str, ...] = ()
    """Models it means nothing to."""

    def apply(self, prompt: str) -> str:
        """The prompt as the model reads it."""
        return self.template.replace("{prompt}", prompt)


class Registry:
    """Models and styles by name, with the configured defaults."""

    def __init__(
        self,
        cards: dict[str, ModelCard],
        styles: dict[str, Style],
        image: str,
        chat: str,
        adapters: dict[str, AdapterCard] | None = None,
        upscaler: str = "",
        vision: str = "",
    ) -> None:
        self.cards = cards
        self.styles = styles
        self.adapters = adapters or {}
        self.upscaler = upscaler
        """The card that enlarges when nobody names one; empty when there is none."""
        self.image_default = self.find(image, JobKind.IMAGE).name
        self.chat_default = self.find(chat, JobKind.CHAT).name
        self.vision_default = self.find(vision, JobKind.CHAT).name if vision else ""
        """The model that reads pictures; empty when none is configured."""
        self.here: frozenset[str] = frozenset()
        """Models whose files lie on this machine too: offered beside the usual ones."""

    def find(self, name: str, kind: JobKind) -> ModelCard:
        """The card called ``name``. Raises ``NotFound('model_unknown')`` when there is none."""
        card = self.cards.get(name)
        if card is None or card.kind is not kind:
            known = ", ".join(sorted(n for n, c in self.cards.items() if c.kind is kind))
            raise NotFound("model_unknown", model=name[:80], known=known)
        return card

    def default(self, kind: JobKind) -> ModelCard:
        """The card used when the member names no model."""
        return self.cards[self.image_default if kind is JobKind.IMAGE else self.chat_default]

    def style(self, name: str) -> Style:
        """The style called ``name``. Raises ``NotFound('style_unknown')`` when there is none."""
        style = self.styles.get(name)
        if style is None:
            known = ", ".join(sorted(self.styles))
            raise NotFound("style_unknown", style=name[:80], known=known)
        return style

    def adapter(self, name: str, kind: str, model: str) -> AdapterCard:
        """The adapter of that kind for a model. Raises ``NotFound('adapter_unknown')``."""
        card = self.adapters.get(name)
        if card is None or card.kind != kind or not card.fits(model):
            known = ", ".join(a.name for a in self.adapters_for(model, kind))
            raise NotFound("adapter_unknown", adapter=name[:80], known=known or "—")
        return card

    def adapters_for(self, model: str, kind: str) -> list[AdapterCard]:
        """The adapters of a kind that fit a model, in the file's order."""
        return [a for a in self.adapters.values() if a.kind == kind and a.fits(model)]

    def control_for(self, model: str, kind: ControlKind) -> AdapterCard | None:
        """The ControlNet that reads this kind of picture for a model, if there is one."""
        found = (a for a in self.adapters_for(model, "control") if a.control is kind)
        return next(found, None)

    def annotator_for(self, model: str, kind: ControlKind) -> AdapterCard | None:
        """What makes this kind of control picture from any picture, if something listed does."""
        found = (a for a in self.adapters_for(model, "annotator") if a.control is kind)
        return next(found, None)

    def annotates(self, model: str, kind: ControlKind) -> bool:
        """Whether any picture can be followed in this way: lines always, the rest by annotators."""
        return kind is ControlKind.CANNY or self.annotator_for(model, kind) is not None

    def references_of(self, model: str) -> int:
        """How many reference pictures a model can be given: its own, or an adapter's four."""
        card = self.cards.get(model)
        own = 0 if card is None else card.references
        return max(own, 4 if self.adapters_for(model, "reference") else 0)

    def draws(self, name: str) -> bool:
        """Whether a card is a picture model (and not an upscaler or for chat)."""
        card = self.cards.get(name)
        return card is not None and card.kind is JobKind.IMAGE and card.purpose == "draw"

    def styles_for(self, model: str) -> list[Style]:
        """The styles meant for a model, in the file's order."""
        return [
            s
            for s in self.styles.values()
            if (not s.models or model in s.models) and model not in s.not_models
        ]


def _hub_card(name: str, kind: JobKind = JobKind.IMAGE, *, vision: bool = False) -> ModelCard:
    """A card for a hub model named as ``owner/name@revision`` that the file does not list."""
    repo, _, revision = name.partition("@")
    if not _COMMIT.fullmatch(revision) or not _REPO.fullmatch(repo):
        raise OperatorError(
            f"model {name!r} is not in models.toml",
            "name it owner/name@<40-digit commit>, or add it to storage/models.toml",
        )
    if kind is JobKind.CHAT:
        return ModelCard(
            name=name, title=repo, kind=kind, source="hub", repo=repo, revision=revision,
            licence="unknown", size_bytes=0, memory_bytes=0, context_tokens=8192, max_tokens=512,
            temperature=0.7, token_ms=30, vision=vision, languages=("en", "zh"),
        )  # fmt: skip
    return ModelCard(
        name=name, title=repo, kind=JobKind.IMAGE, source="hub", repo=repo, revision=revision,
        licence="unknown", size_bytes=0, memory_bytes=0, width=512, height=512, max_side=1024,
        steps=25, guidance=7.0, step_ms=2000,
        # Its family shows when it is loaded; the checkpoint's own sampler always fits.
        scheduler="own", schedulers=("own", *ModelCard.model_fields["schedulers"].default, "flow"),
    )  # fmt: skip


@cache
def _read() -> dict[str, Any]:
    with _FILE.open("rb") as file:
        return tomllib.load(file)


def _more(path: Path | None) -> dict[str, Any]:
    """The operator's own lists; empty when there is no such file. Raises ``OperatorError``."""
    if path is None or not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"{path} cannot be read ({error})", "correct the file") from error


def _shared_card(picture: ModelCard) -> ModelCard:
    """The chat model that is a picture model's own text encoder."""
    if picture.source != "hub":
        raise OperatorError(
            f"{picture.name!r} has no language model to share", "unset ATELIER_CHAT_MODEL"
        )
    return ModelCard(
        name=f"{picture.name}:text", title=f"the language model of {picture.title}",
        kind=JobKind.CHAT, source="hub", repo=picture.repo, revision=picture.revision,
        licence=picture.licence, size_bytes=0, memory_bytes=0, context_tokens=8192,
        max_tokens=512, temperature=0.7, token_ms=30, shares=picture.name,
        languages=("en", "zh"),
    )  # fmt: skip


def _remote_card(providers: tuple[Provider, ...], context: int, *, vision: bool) -> ModelCard:
    """One card for a list of servers: the first answers, the others stand in."""
    title = ", then ".join(f"{p.model} at {p.name}" for p in providers)
    return ModelCard(
        name=f"{providers[0].name}:{providers[0].model}", title=title, kind=JobKind.CHAT,
        source="remote", licence="its provider's terms", size_bytes=0, memory_bytes=0,
        context_tokens=context, max_tokens=1024, temperature=0.7, token_ms=20, vision=vision,
        providers=providers, languages=("en", "zh"),
    )  # fmt: skip


_LEFT = {"8-bit": 8.5 / 16, "4-bit": 4.5 / 16}
"""What about is left of a model's bytes; the engine measures the rest."""
SHARED = "shared"
"""What ``ATELIER_CHAT_MODEL`` says to answer with the picture model's text encoder."""


def load_registry(
    image_model: str = "",
    chat_model: str = "",
    more: Path | None = None,
    *,
    chat_providers: str = "",
    vision_model: str = "",
    vision_providers: str = "",
    provider_context: int = 8192,
    precision: Literal["full", "8-bit", "4-bit"] = "full",
) -> Registry:
    """The registry with the configured default models (empty: the starters).

    ``more`` is the operator's file; what it lists replaces ours of the same name. Providers,
    where named, answer instead of a model of this machine. ``precision`` is how the configured
    hub models are stored. Raises ``OperatorError`` for a model
    that is neither listed nor pinned to a revision, or a list that cannot be read.
    """
    data, own = _read(), _more(more)
    defaults = {**data["default"], **own.get("default", {})}
    try:
        cards = {
            c["name"]: ModelCard.model_validate(c) for c in (*data["model"], *own.get("model", ()))
        }
        styles = {
            s["name"]: Style.model_validate(s) for s in (*data["style"], *own.get("style", ()))
        }
        adapters = {a["name"]: AdapterCard.model_validate(a) for a in own.get("adapter", ())}
    except (ValidationError, KeyError) as error:
        first = str(error).splitlines()
        raise OperatorError(
            f"{more} lists something unusable ({' '.join(first[:3])[:200]})",
            "compare it with storage/models.toml",
        ) from error
    by_repo = {
        card.repo: card.name
        for card in cards.values()
        if card.source == "hub" and not (card.unet or card.gguf)
    }

    def settle(name: str, kind: JobKind, *, vision: bool = False) -> str:
        name = by_repo.get(name, name)
        repo, _, revision = name.partition("@")
        if repo in by_repo and _COMMIT.fullmatch(revision):
            # Another commit of a model we know: its card fits, but for the pin.
            name = by_repo[repo]
            cards[name] = cards[name].model_copy(update={"revision": revision})
        elif name not in cards:
            cards[name] = _hub_card(name, kind, vision=vision)
        return name

    def served(setting: str, value: str, *, vision: bool) -> str:
        providers = parse_providers(setting, value)
        if not providers:
            return ""
        card = _remote_card(providers, provider_context, vision=vision)
        cards[card.name] = card
        return card.name

    image = settle(image_model or defaults["image"], JobKind.IMAGE)
    chat = served("ATELIER_CHAT_PROVIDERS", chat_providers, vision=False)
    if not chat and chat_model == SHARED:
        shared = _shared_card(cards[image])
        cards[shared.name] = shared
        chat = shared.name
    chat = chat or settle(chat_model or defaults["chat"], JobKind.CHAT)
    vision = served("ATELIER_VISION_PROVIDERS", vision_providers, vision=True)
    if not vision and vision_model:
        vision = settle(vision_model, JobKind.CHAT, vision=True)
    for name in {image, chat, vision} - {""}:
        if precision != "full" and cards[name].source == "hub":
            size = round(cards[name].memory_bytes * _LEFT[precision])
            told = {"precision": precision, "memory_bytes": size}
            cards[name] = cards[name].model_copy(update=told)
    upscaler = defaults.get("upscaler", "")
    return Registry(cards, styles, image, chat, adapters, upscaler, vision)
