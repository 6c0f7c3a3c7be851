"""Where things are; read at the roots only: `ATELIER_*` in the environment, a `.env` file, or
`atelier.toml` (``web_port = 8642``), whichever says it first in this order."""

from __future__ import annotations

import logging
import os
import re
import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from storage.errors import OperatorError
from storage.presence import servable
from storage.registry import Registry, load_registry
from storage.setting_names import BOT, WORKER, in_env_file, in_environment, in_toml

log = logging.getLogger(__name__)

_ENV, _TOML = ".env", "atelier.toml"


class StorageSettings(BaseSettings):
    """Settings every process shares."""

    model_config = SettingsConfigDict(
        env_prefix="ATELIER_", env_file=_ENV, toml_file=_TOML, extra="ignore",
        env_ignore_empty=True,
    )  # fmt: skip

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The file comes last: what is typed for one start wins over it."""
        file = TomlConfigSettingsSource(settings_cls)
        return init_settings, env_settings, dotenv_settings, file

    home: Path = Path("var")
    """State folder: database, blobs, models, logs."""
    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in the state folder."""
    redis_url: str = ""
    """Redis or Valkey URL; empty means the embedded Valkey that `atelier up` starts."""
    image_model: str = ""
    chat_model: str = ""
    """A listed name, ``owner/name@commit``, or ``shared``: the picture model's text encoder."""
    chat_providers: str = ""
    """Servers that answer instead: ``name=base_url#model``, comma-separated, in fallback order."""
    vision_model: str = ""
    """A model of this machine that reads pictures, as ``chat_model``."""
    vision_providers: str = ""
    """Servers that read pictures, as ``chat_providers``."""
    provider_context: int = Field(default=8192, ge=512)
    """Tokens of conversation and answer together that the servers' models take."""
    precision: Literal["full", "8-bit", "4-bit"] = "full"
    """How the configured hub models are stored on this machine."""
    monthly_credits: int | None = Field(default=None, ge=0)
    """Overrides what the local workspace's owner gets each month."""

    @property
    def registry(self) -> Registry:
        """The models in force. Raises ``OperatorError``."""
        registry = load_registry(
            self.image_model, self.chat_model, self.registry_file,
            chat_providers=self.chat_providers,
            vision_model=self.vision_model, vision_providers=self.vision_providers,
            provider_context=self.provider_context, precision=self.precision,
        )  # fmt: skip
        registry.here = servable(registry, self.models_dir)
        return registry

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'atelier.db'}"

    @property
    def registry_file(self) -> Path:
        """Where the operator's own models, styles and adapters are listed; it may not exist."""
        return self.home / "registry.toml"

    @property
    def blobs_dir(self) -> Path:
        """Where generated files live."""
        return self.home / "blobs"

    @property
    def models_dir(self) -> Path:
        """Where assembled or converted models live."""
        return self.home / "models"


S = TypeVar("S", bound=StorageSettings)


def read_settings(kind: type[S], **overrides: object) -> S:
    """The settings in force. Raises ``OperatorError`` naming where what is wrong stands, and the
    cure; never a value, which may be a secret. A misspelt name is wrong in our files, and said
    in the log where it is in the environment (:mod:`storage.setting_names`)."""
    try:
        settings = kind(**overrides)  # type: ignore[arg-type]
        _check_names(kind)
        return settings
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise OperatorError(
            f"{_place(name)}: ATELIER_{name.upper()} is not usable ({first['msg']})",
            "correct or remove it there",
        ) from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = f", line {found[1]}" if found else ""
        raise OperatorError(
            f"{_TOML}{line} is not valid TOML", "correct that line; text goes in quotes"
        ) from None


def _check_names(kind: type[StorageSettings]) -> None:
    """Raise ``OperatorError`` for the first name in our files that is no setting."""
    known = {*kind.model_fields, *BOT, *WORKER}
    for wrong in (*in_env_file(Path(_ENV), known), *in_toml(Path(_TOML), known)):
        offer = f"did you mean {wrong.nearest}? Otherwise" if wrong.nearest else "correct it, or"
        raise OperatorError(
            f"{wrong.place}: there is no setting {wrong.name}", f"{offer} remove the line"
        )
    for wrong in in_environment(os.environ, known):
        offer = f"; did you mean {wrong.nearest}?" if wrong.nearest else ""
        log.warning("%s in %s is no setting of ours%s", wrong.name, wrong.place, offer)


def _place(name: str) -> str:
    """Where a setting is said: the environment, or the file and its line."""
    variable = f"ATELIER_{name}".upper()
    if any(key.upper() == variable for key in os.environ):
        return "the environment"
    for file, wanted in ((_ENV, rf"\s*(?:export\s+)?{variable}\s*="), (_TOML, rf"\s*{name}\s*=")):
        try:
            lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        # The last line that says it is the one in force.
        for number in range(len(lines), 0, -1):
            if re.match(wanted, lines[number - 1], re.IGNORECASE):
                return f"{file}, line {number}"
    return "the command line"
