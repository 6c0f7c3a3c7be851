"""The bot's settings: where the page listens and who may open it; read at the root only."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from storage.settings import StorageSettings, read_settings

_ADDRESS = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.I | re.ASCII)


class BotSettings(StorageSettings):
    """What `atelier` reads from the environment (`ATELIER_*`) or a `.env` file."""

    web_host: str = "127.0.0.1"
    """Address the page listens on; loopback unless someone says otherwise."""
    web_port: int = Field(default=8642, ge=0, le=65535)
    """Port of the page; 0 takes a free one. A taken default port makes us try the next ones."""
    web_hosts: str = ""
    """More names the page answers to, separated by commas: those of a reverse proxy, say."""
    web_url: str = ""
    """The page's public address, for links in chats: ``https://studio.example``; empty for none."""
    web_token: SecretStr | None = None
    """Opens the page; empty means one that is made once and kept in the state folder."""
    discord_token: SecretStr | None = None
    slack_bot_token: SecretStr | None = None
    """``xoxb-…``: what the bot does in Slack."""
    slack_app_token: SecretStr | None = None
    """``xapp-…``: opens the socket that events come in by (Socket Mode)."""
    slack_signing_secret: SecretStr | None = None
    """Takes events over HTTP instead of the socket, and checks that Slack sent them."""
    slack_host: str = "127.0.0.1"
    """Where events over HTTP are listened to; a proxy with a public address forwards them."""
    slack_port: int = Field(default=3000, ge=0, le=65535)
    recipe_cache: bool = True
    """Whether the same wish asked again is answered from what was made before, free."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("web_url")
    @classmethod
    def _address(cls, value: str) -> str:
        """Scheme and host, perhaps a port: the page lives at the root of its host."""
        value = value.strip().rstrip("/")
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            named = bool(parts.hostname) and parts.port != 0
        except ValueError:
            named = False
        if not named or not _ADDRESS.fullmatch(value):
            raise ValueError("an address like https://studio.example, without a path")
        return value.lower()

    @property
    def url_is_plain(self) -> bool:
        """Whether the public address sends a session over a network in clear."""
        return self.web_url.startswith("http://") and not _is_loopback(
            urlsplit(self.web_url).hostname or ""
        )

    @property
    def uses_slack(self) -> bool:
        """Whether Slack is set up: a bot token, and one way in."""
        ways = (self.slack_app_token, self.slack_signing_secret)
        return is_set(self.slack_bot_token) and any(is_set(way) for way in ways)

    @property
    def port_chosen(self) -> bool:
        """Whether someone asked for this very port."""
        return "web_port" in self.model_fields_set

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        return _is_loopback(self.web_host)

    @property
    def listens_everywhere(self) -> bool:
        """Whether the page listens on every address of this machine."""
        try:
            return ip_address(self.web_host).is_unspecified
        except ValueError:
            return False

    @property
    def host_in_url(self) -> str:
        """The host as a browser on this machine writes it."""
        return "127.0.0.1" if self.listens_everywhere else in_url(self.web_host)

    @property
    def more_hosts(self) -> frozenset[str]:
        """``web_hosts`` and ``web_url``'s, each as a browser writes it, without a port."""
        parts = [*self.web_hosts.split(","), urlsplit(self.web_url).hostname or ""]
        return frozenset(in_url(name) for part in parts if (name := part.strip()))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_set(secret: SecretStr | None) -> bool:
    """Whether a secret was given; an empty line in `.env` is none."""
    return secret is not None and bool(secret.get_secret_value().strip())


def in_url(host: str) -> str:
    """A host as it is written in a URL: IPv6 in brackets, names as they are, no port."""
    try:
        address = ip_address(host)
    except ValueError:
        name, _, port = host.rpartition(":")
        return name if name and port.isdigit() else host
    return f"[{address}]" if address.version == 6 else str(address)


def load_settings(**overrides: object) -> BotSettings:
    """The settings in force. Raises ``OperatorError`` as ``storage.settings.read_settings``."""
    return read_settings(BotSettings, **{k: v for k, v in overrides.items() if v is not None})
