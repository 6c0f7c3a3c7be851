"""Where things are; read from the environment at the roots only (`ATELIER_*` or a `.env` file)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.presence import servable
from storage.registry import Registry, load_registry


class StorageSettings(BaseSettings):
    """Settings every process shares."""

    model_config = SettingsConfigDict(
        env_prefix="ATELIER_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

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
    monthly_credits: int | None = Field(default=None, ge=0)
    """Overrides what the local workspace's owner gets each month."""

    @property
    def registry(self) -> Registry:
        """The models in force. Raises ``OperatorError``."""
        registry = load_registry(
            self.image_model, self.chat_model, self.registry_file,
            chat_providers=self.chat_providers,
            vision_model=self.vision_model, vision_providers=self.vision_providers,
            provider_context=self.provider_context,
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
