"""Rows 6 and 17: bombs, moving, torn and disguised files cost little and become nothing."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bot.core import decode as decoding
from bot.core.attachment import Attachment
from bot.core.uploads import Uploads
from storage.blobs import Blobs
from storage.errors import BadInput, NotFound
from storage.schema import Platform
from tests.fakes import FakeAdapter

CHILD = Path(decoding.__file__)
MOST_KIB = 300 * 1024
"""RELIABILITY.md 5: the child's peak for any accepted upload."""


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claims(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it is so large, with so little in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def text_bomb() -> bytes:
    """A small PNG with a text chunk that inflates to 200 MB."""
    packed = zlib.compress(b"a" * 200_000_000, 9)
    plain = saved(Image.new("RGB", (8, 8)))
    return plain[:33] + chunk(b"zTXt", b"k\x00\x00" + packed) + plain[33:]


def moving() -> bytes:
    frames = [Image.new("RGB", (16, 16), (90 * i, 0, 0)) for i in range(3)]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def moving_png() -> bytes:
    frames = [Image.new("RGB", (16, 16), (90 * i, 0, 0)) for i in range(3)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


SMALL = saved(Image.new("RGB", (64, 64), "red"))
CORPUS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "upload_format"),
    "text": (b"hello", "upload_format"),
    "html": (b"<svg onload=alert(1)>", "upload_format"),
    "gif": (saved(Image.new("P", (8, 8)), "GIF"), "upload_format"),
    "bmp": (saved(Image.new("RGB", (8, 8)), "BMP"), "upload_format"),
    "tiff": (saved(Image.new("RGB", (8, 8)), "TIFF"), "upload_format"),
    "ico": (saved(Image.new("RGB", (16, 16)), "ICO"), "upload_format"),
    "pdf": (b"%PDF-1.7\n" + SMALL, "upload_format"),
    "zip before": (b"PK\x03\x04" + SMALL, "upload_format"),
    "riff sound": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "upload_format"),
    "too long": (SMALL + b"\x00" * decoding.MAX_BYTES, "upload_large"),
    "the 509 kB bomb": (saved(Image.new("L", (13_370, 13_370))), "upload_pixels"),
    "just over": (claims(4_001, 4_000), "upload_pixels"),
    "a line of pixels": (claims(2**31 - 1, 1), "upload_pixels"),
    "billions": (claims(2**31 - 1, 2**31 - 1), "upload_pixels"),
    "moving webp": (moving(), "upload_frames"),
    "moving png": (moving_png(), "upload_frames"),
    "torn png": (SMALL[: len(SMALL) // 2], "upload_broken"),
    "torn jpeg": (saved(Image.new("RGB", (64, 64)), "JPEG")[:300], "upload_broken"),
    "magic only": (b"\x89PNG\r\n\x1a\n", "upload_broken"),
    "webp magic only": (b"RIFF\xff\xff\xff\xffWEBPVP8 ", "upload_broken"),
    "no pixels": (claims(0, 0), "upload_broken"),
    "inflates to nothing": (claims(512, 512), "upload_broken"),
    "text bomb": (text_bomb(), "upload_broken"),
    "noise after the magic": (
        b"\xff\xd8\xff" + random.Random(1).randbytes(5_000), "upload_broken",
    ),
}  # fmt: skip


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(Blobs(tmp_path))


@pytest.mark.parametrize("name", CORPUS)
async def test_what_is_no_still_picture_is_refused(uploads: Uploads, name: str) -> None:
    data, code = CORPUS[name]
    with pytest.raises(BadInput) as caught:
        await uploads.decode(data)
    assert caught.value.code == code


def test_no_file_of_the_corpus_costs_much(tmp_path: Path) -> None:
    """In one child of this test, so that the peak is theirs and not this process's."""
    files = []
    for number, (data, _) in enumerate(CORPUS.values()):
        (file := tmp_path / str(number)).write_bytes(data)
        files.append(str(file))
    largest = Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (2_000, 2_000, 3), dtype=np.uint8)
    ).resize((4_000, 4_000), Image.Resampling.NEAREST)
    for kind in ("JPEG", "WEBP"):
        (file := tmp_path / kind).write_bytes(saved(largest, kind, quality=30))
        files.append(str(file))
    flat = Image.new("RGBA", (4_000, 4_000), (1, 2, 3, 128))
    (file := tmp_path / "alpha").write_bytes(saved(flat))
    files.append(str(file))
    watch = (
        "import resource,subprocess,sys\n"
        "for f in sys.argv[2:]:\n"
        "  with open(f,'rb') as i: subprocess.run([sys.executable,'-I',sys.argv[1]],stdin=i,"
        "stdout=subprocess.DEVNULL,env={},timeout=60,check=False)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch, str(CHILD), *files], capture_output=True, check=True
    )
    assert int(done.stdout) < MOST_KIB


async def test_what_is_kept_is_pixels_and_nothing_else(uploads: Uploads) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("parameters", "a secret prompt")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter
    exif[0x010E] = "home address"
    tagged = saved(Image.new("RGB", (40, 20), "blue"), pnginfo=words, exif=exif.tobytes())
    facts, png = await uploads.decode(tagged + b"PK\x03\x04 a zip behind it")
    assert b"secret" not in png
    assert b"address" not in png
    assert b"PK\x03\x04" not in png
    bare = Image.open(io.BytesIO(png))
    assert bare.info == {}
    assert (facts["width"], facts["height"]) == (20, 40), "turned as the camera meant it"
    assert not facts["alpha"]


async def test_a_mask_keeps_its_alpha(uploads: Uploads) -> None:
    pixels = np.zeros((24, 32, 4), dtype=np.uint8)
    pixels[:, :16, 3] = 255
    facts, png = await uploads.decode(saved(Image.fromarray(pixels, "RGBA")))
    assert facts["alpha"]
    kept = np.asarray(Image.open(io.BytesIO(png)))
    assert (kept == pixels).all()


async def test_large_ones_are_made_to_fit(uploads: Uploads) -> None:
    facts, _ = await uploads.decode(saved(Image.new("L", (3_000, 1_000)), "JPEG"))
    assert facts["width"] == 2_048
    assert facts["height"] == 683


def test_the_child_is_confined(tmp_path: Path) -> None:
    """No files, no children, no more memory: whatever a broken decoder is made to run."""
    script = f"""
import sys; sys.path.insert(0, {str(CHILD.parent)!r})
import decode, os
decode.confine()
try:
    with open({str(tmp_path / "x")!r}, "wb") as f: f.write(b"1"); f.flush()
    print("wrote")
except OSError: print("no file")
try: bytearray(decode.ADDRESS_SPACE); print("memory")
except MemoryError: print("no memory")
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    # Writing past the limit ends the process by signal, or fails: either way nothing is written.
    assert "wrote" not in done.stdout
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size == 0


def test_the_child_gets_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_DISCORD_TOKEN", "canary")
    source = CHILD.parent.joinpath("uploads.py").read_text(encoding="utf-8")
    assert "env={}" in source
    assert '"-I"' in source


NAMES = [
    "../../etc/passwd", "a\x00b.png", "x" * 4_096, "C:\\evil.png", ".htaccess", "a.png\r\nX: y",
    "@everyone.png", "<!channel>.png", "‮gnp.exe", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_files_name_is_used_for_nothing(
    fake: FakeAdapter, name: str, tmp_path: Path
) -> None:
    assert fake.core is not None
    uploads = fake.core.services.uploads
    context = await fake.core._context(fake.invocation("help"), fake.core.services.texts("en"), [])
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    attached = Attachment(platform=Platform.LOCAL, name=name, size=1, data=SMALL)
    source = await uploads.take(context, attached)
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert [p.name for p in made] == [source.blob.rpartition("/")[2]]
    assert context.taken == [source]


@pytest.mark.parametrize(
    "key", ["../x.png", "/etc/passwd", "aa/../../b.png", "a" * 300, "x\x00.png"]
)
def test_no_key_leads_out_of_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(NotFound):
        Blobs(tmp_path).get(key)
