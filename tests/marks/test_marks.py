"""Signed, labelled, readable by others; broken by tampering; and never about the member."""

from __future__ import annotations

import asyncio
import io
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from moderation.marks import manifest
from moderation.marks.facts import IPTC, Facts, LabelProfile, SourceType, profile_of
from moderation.marks.identity import Identity, authority, ensure_identity, folder_of
from moderation.marks.label import SHARE, draw_label
from moderation.marks.marker import Encode, as_png, as_webp, mark
from moderation.marks.verify import Answer, check, decoded, suffix_of
from storage.errors import OperatorError
from tests.marks.pictures import again, icon, photo

FACTS = Facts(model="starter-icons", made_at=1_800_000_000_000, policy_version="7", mark_id="M4RK")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def identity(home: Path) -> Identity:
    return ensure_identity(home)


@pytest.mark.parametrize("encode", [as_webp, as_png])
def test_a_marked_file_says_what_it_is(identity: Identity, encode: Encode) -> None:
    data, suffix = mark(photo(), FACTS, identity, encode)
    assert suffix_of(data) == suffix
    found = manifest.read(data, suffix, identity.ca)
    assert found is not None and found.valid and found.trusted and found.problems == ()
    assert found.source_type == "trainedAlgorithmicMedia"
    assert found.ours["model"] == "starter-icons" and found.ours["policy"] == "7"
    stranger = manifest.read(data, suffix, None)
    assert stranger is not None and stranger.valid and not stranger.trusted
    xmp = Image.open(io.BytesIO(data)).info.get("xmp", b"")
    assert (IPTC + "trainedAlgorithmicMedia").encode() in xmp
    assert b"AIGC" not in xmp
    checked = check(data, suffix, decoded(data), identity.ca)
    assert (checked.made_here, checked.signature, checked.watermark) == ("yes", "ours", "ours")
    assert checked.ai_generated and checked.made_at.startswith("2027-01-15")


def test_tampering_breaks_the_signature_and_the_watermark_still_tells(identity: Identity) -> None:
    data, suffix = mark(photo(), FACTS, identity, as_png)
    broken = bytearray(data)
    broken[-40] ^= 1  # in the pixels' checksum region, after the manifest
    found = manifest.read(bytes(broken), suffix, identity.ca)
    assert found is not None and not found.valid
    again_saved = again(decoded(data), "JPEG", quality=70)
    buffer = io.BytesIO()
    again_saved.save(buffer, "JPEG", quality=90)
    checked = check(buffer.getvalue(), "jpg", decoded(buffer.getvalue()), identity.ca)
    assert (checked.signature, checked.watermark, checked.made_here) == ("none", "ours", "yes")


def test_another_studio_says_no_and_a_bare_picture_says_nothing(
    identity: Identity, tmp_path: Path
) -> None:
    other = ensure_identity(tmp_path)
    data, suffix = mark(photo(), FACTS, other)
    checked = check(data, suffix, decoded(data), identity.ca)
    assert (checked.made_here, checked.signature, checked.watermark) == ("no", "other", "other")
    assert checked.generator == "Atelier" and checked.model == ""
    bare, _ = as_webp(photo(), None)
    checked = check(bare, "webp", decoded(bare), identity.ca)
    assert checked.made_here is Answer.UNKNOWN and not checked.ai_generated
    known = check(bare, "webp", decoded(bare), identity.ca, lambda data, image: "similar")
    assert known.made_here is Answer.YES


def test_a_start_picture_keeps_its_marks_as_an_ingredient(identity: Identity) -> None:
    first, suffix = mark(icon(), FACTS, identity)
    facts = FACTS.model_copy(update={"source": SourceType.COMPOSITE})
    data, suffix = mark(
        photo(), facts, identity, parents=(manifest.Ingredient(first, suffix, "start"),)
    )
    found = manifest.read(data, suffix, identity.ca)
    assert found is not None and found.trusted and found.ingredients == 1
    assert found.source_type == "compositeWithTrainedAlgorithmicMedia"
    import c2pa

    whole = json.loads(c2pa.Reader(manifest.MIME[suffix], io.BytesIO(data)).json())
    assert len(whole["manifests"]) == 2, "the first picture's own manifest is inside"


def test_an_uploads_marks_are_kept_and_nothing_is_claimed(
    identity: Identity, tmp_path: Path
) -> None:
    other = ensure_identity(tmp_path)
    original, suffix = mark(photo(), FACTS, other)
    clean, _ = as_png(photo(), None)
    kept = manifest.keep_marks(original, clean, identity)
    found = manifest.read(kept, "png", identity.ca)
    assert found is not None and found.trusted and found.ingredients == 1
    assert found.source_type == "" and found.ours == {}
    assert decoded(kept).tobytes() == decoded(clean).tobytes()
    assert manifest.keep_marks(clean, clean, identity) == clean
    assert manifest.keep_marks(b"junk", clean, identity) == clean
    data, suffix = mark(icon(), FACTS, identity, parents=(manifest.Ingredient(kept, "png"),))
    import c2pa

    whole = json.loads(c2pa.Reader(manifest.MIME[suffix], io.BytesIO(data)).json())
    assert len(whole["manifests"]) == 3, "theirs, the upload's and ours"


@pytest.mark.parametrize("encode", [as_webp, as_png])
def test_china_gets_words_and_the_field(identity: Identity, encode: Encode) -> None:
    facts = FACTS.model_copy(update={"profile": LabelProfile.CN})
    data, suffix = mark(photo(), facts, identity, encode)
    opened = decoded(data)
    assert b"http://www.tc260.org.cn/ns/AIGC/1.0/" in opened.info["xmp"]
    if suffix == "png":
        field = json.loads(opened.info["AIGC"])
        assert field["Label"] == "1" and field["ProduceID"] == "M4RK"
        assert set(field) == {
            "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator",
            "PropagateID", "ReservedCode2",
        }  # fmt: skip
    found = manifest.read(data, suffix, identity.ca)
    assert found is not None and found.trusted
    assert check(data, suffix, opened, identity.ca).watermark == "ours"


@pytest.mark.parametrize("size", [(128, 128), (768, 512), (1024, 1536)])
def test_the_label_is_as_high_as_the_rule_asks(size: tuple[int, int]) -> None:
    blank = Image.new("RGB", size, (0, 90, 0))
    labelled = draw_label(blank)
    white = (
        labelled.point(lambda v: 255 if v > 170 else 0)
        .convert("L")
        .point(lambda v: 255 * (v > 200))
    )
    box = white.getbbox()
    assert box is not None
    assert box[3] - box[1] >= 0.05 * min(size)
    assert SHARE >= 0.05
    assert box[0] > size[0] / 3 and box[1] > size[1] / 2, "in the corner"


def test_no_profile_means_no_marks(identity: Identity) -> None:
    facts = FACTS.model_copy(update={"profile": LabelProfile.NONE})
    data, suffix = mark(photo(), facts, identity)
    assert manifest.read(data, suffix, identity.ca) is None
    assert check(data, suffix, decoded(data), identity.ca).made_here is Answer.UNKNOWN
    assert profile_of({"label_profile": "cn"}) is LabelProfile.CN
    assert profile_of({"label_profile": "moon"}) is LabelProfile.EU
    assert profile_of({}) is LabelProfile.EU


def test_the_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: ensure_identity(tmp_path), range(8)))
    assert len(made) == 1
    assert authority(tmp_path) == next(iter(made)).ca
    key = folder_of(tmp_path) / "leaf.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert authority(tmp_path / "elsewhere") is None
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OperatorError, match="identity"):
        ensure_identity(blocked)


async def test_signing_side_by_side_is_sound(identity: Identity) -> None:
    files = await asyncio.gather(
        *(asyncio.to_thread(mark, icon(seed), FACTS, identity) for seed in range(6))
    )
    for data, suffix in files:
        found = manifest.read(data, suffix, identity.ca)
        assert found is not None and found.trusted
