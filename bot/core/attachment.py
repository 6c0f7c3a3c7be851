"""A file somebody attached, as the platform describes it. Pure data: nothing was fetched yet."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from storage.errors import BadInput
from storage.schema import Frozen, Platform


class Attachment(Frozen):
    """The platform's own attachment object, reduced to what we need.

    Adapters build it from the platform's event only, never from something typed: a typed URL is
    no attachment. The web gives the bytes themselves in ``data`` and no ``url``.
    """

    platform: Platform
    name: str
    """What its sender called it: shown to nobody, used for nothing, no path is made of it."""
    url: str = ""
    size: int = Field(ge=0)
    """Bytes, as the platform says; the real size is counted while reading."""
    content_type: str = ""
    """As the platform says; the real one is read from the first bytes."""
    external: bool = False
    """Slack's ``is_external`` or ``mode: external``: a link to anywhere. Always refused."""
    data: bytes | None = Field(default=None, repr=False)


def _attached(value: Any) -> Any:
    if value is None or isinstance(value, Attachment):
        return value
    raise BadInput("upload_not_attached")


Upload = Annotated[Attachment | None, BeforeValidator(_attached)]
"""An optional picture of a command's input: give its option the kind *image*."""
