"""Chat servers that speak the OpenAI protocol, as the operator names them. Pure: no I/O, no key.

One setting is a list in fallback order, ``name=base_url#model`` separated by commas::

    ATELIER_CHAT_PROVIDERS=vllm=http://10.0.0.5:8000/v1#Qwen/Qwen3-8B,
                           openai=https://api.openai.com/v1#gpt-5-mini

Keys stand apart, by the same names, in a setting that only the worker reads.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from storage.errors import OperatorError
from storage.schema import Frozen

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FORM = "write name=base_url#model, separated by commas, in the order they are tried"


class Provider(Frozen):
    """One server and the model asked of it."""

    name: str
    url: str
    model: str


def parse_providers(setting: str, value: str) -> tuple[Provider, ...]:
    """The providers a setting names, in order; none for an empty one.

    Raises ``OperatorError`` naming the setting and the position of what is wrong, never its text.
    """
    found: list[Provider] = []
    for index, part in enumerate(filter(None, (p.strip() for p in value.split(","))), 1):
        name, _, rest = part.partition("=")
        url, _, model = rest.partition("#")
        place = urlsplit(url)
        wrong = (
            not _NAME.fullmatch(name)
            or place.scheme not in ("http", "https")
            or not place.hostname
            or place.username is not None
            or not model
        )
        if wrong:
            raise OperatorError(f"entry {index} of {setting} cannot be read", _FORM)
        if any(name == other.name for other in found):
            raise OperatorError(f"{setting} names {name!r} twice", _FORM)
        found.append(Provider(name=name, url=url.rstrip("/"), model=model))
    return tuple(found)


def parse_keys(setting: str, value: str) -> dict[str, str]:
    """Keys by provider name, from ``name=key`` separated by commas.

    Raises ``OperatorError`` naming the position of what is wrong, never its text.
    """
    keys: dict[str, str] = {}
    for index, part in enumerate(filter(None, (p.strip() for p in value.split(","))), 1):
        name, separator, key = part.partition("=")
        if not separator or not _NAME.fullmatch(name) or not key.strip():
            raise OperatorError(
                f"entry {index} of {setting} cannot be read", "write name=key, separated by commas"
            )
        keys[name] = key.strip()
    return keys
