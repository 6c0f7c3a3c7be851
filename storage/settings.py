"""Where things are; read from the environment at the roots only (`ATELIER_*` or a `.env` file)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StorageSettings(BaseSettings):
    """Settings every process shares."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_", env_file=".env", extra="ignore")

    home: Path = Path("var")
    """State folder: database, blobs, models, logs."""
    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in the state folder."""
    redis_url: str = ""
    """Redis or Valkey URL; empty means the embedded Valkey that `atelier up` starts."""
    image_model: str = ""
    chat_model: str = ""
    monthly_credits: int | None = Field(default=None, ge=0)
    """Overrides what the local workspace's owner gets each month."""

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
