"""The marks on the very bytes that a platform receives, not only on those we stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest

from bot.adapters.discord.files import fit_all
from bot.adapters.discord.render import PictureFile
from bot.root import remarked
from moderation.marks.facts import Facts
from moderation.marks.identity import Identity, ensure_identity
from moderation.marks.marker import as_png, as_webp, mark
from moderation.marks.verify import Checked, check, decoded, suffix_of
from storage.blobs import Blobs
from tests.marks.pictures import photo

FACTS = Facts(model="starter-icons", made_at=1_800_000_000_000, policy_version="1", mark_id="M4RK")


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return ensure_identity(tmp_path)


def looked_at(data: bytes, identity: Identity) -> Checked:
    suffix = suffix_of(data)
    assert suffix is not None
    return check(data, suffix, decoded(data), identity.ca)


@pytest.mark.parametrize("encode", [as_webp, as_png])
async def test_what_a_chat_receives_is_signed_and_marked(
    tmp_path: Path, identity: Identity, encode: object
) -> None:
    blobs = Blobs(tmp_path / "blobs")
    data, suffix = mark(photo(), FACTS, identity, encode)  # type: ignore[arg-type]
    key = blobs.put(data, suffix)
    file = PictureFile(name=f"a.{suffix}", blob=key, alt="a picture", spoiler=False)
    (fitted,) = await fit_all(blobs, [file])
    request = httpx.Request(
        "POST", "https://chat.invalid", files={"file": (fitted.file.name, fitted.upload().fp)}
    )
    assert data in request.read(), "not one byte was touched on its way out"
    checked = looked_at(fitted.data, identity)
    assert (checked.signature, checked.watermark, checked.made_here) == ("ours", "ours", "yes")


async def test_a_file_too_large_for_a_chat_is_signed_again_and_keeps_its_watermark(
    tmp_path: Path, identity: Identity
) -> None:
    blobs = Blobs(tmp_path / "blobs")
    data, suffix = mark(photo(512, 512), FACTS, identity, as_png)
    file = PictureFile(name="a.png", blob=blobs.put(data, suffix), alt="a picture", spoiler=False)
    (fitted,) = await fit_all(blobs, [file], 60_000, partial(remarked, tmp_path))
    assert len(fitted.data) <= 60_000
    checked = looked_at(fitted.data, identity)
    assert (checked.signature, checked.watermark, checked.made_here) == ("ours", "ours", "yes")
