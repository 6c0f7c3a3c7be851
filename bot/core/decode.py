"""Decodes one picture that nobody trusts, in a process of its own with hard limits.

Run by its path (``python -I decode.py``), so it imports nothing of ours. Standard input: the file.
Standard output: one line of JSON, then a PNG with nothing but pixels. What a picture may cost here
is bounded by the kernel: address space, processor seconds, no files, no other processes. Sources
of the limits: RELIABILITY.md 5, rows 6 and 17 (a 509 kB PNG that takes 700 MB to load).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import resource
import sys
import warnings

MAX_BYTES = 10 * 2**20
"""Longest file in bytes."""
MAX_PIXELS = 16_000_000
"""Most pixels a picture may claim to have; looked at before any of them is decoded."""
LONGEST_SIDE = 2_048
"""Larger pictures are made smaller: no job works on more."""
ADDRESS_SPACE = 700 * 2**20
"""Bytes of address space, of which the interpreter and Pillow map some 250 MB before starting."""
CPU_S = 6
FORMATS = ("PNG", "JPEG", "WEBP")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


class Unfit(Exception):
    """The picture cannot be used; the message is an error code of ours."""


def confine() -> None:
    """Limits that cannot be raised again. What a system does not know is left out."""
    for kind, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (getattr(resource, "RLIMIT_NPROC", None), 0),
    ):
        if kind is not None:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))


def decode(data: bytes) -> tuple[dict[str, object], bytes]:
    """``({"width", "height", "sha256", "alpha"}, png)``. Raises :class:`Unfit`.

    The picture is turned as its EXIF says, made smaller when a side is longer than
    ``LONGEST_SIDE``, and written anew: no metadata, no profile, no second frame, no trailing bytes.
    ``sha256`` is of the uint8 RGB pixels, RGBA where something is transparent (``alpha``).
    """
    from PIL import Image, ImageOps

    if len(data) > MAX_BYTES:
        raise Unfit("upload_large")
    if not data.startswith(_MAGIC) or (data.startswith(b"RIFF") and data[8:12] != b"WEBP"):
        raise Unfit("upload_format")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise Unfit("upload_pixels")
        if getattr(picture, "n_frames", 1) != 1:
            raise Unfit("upload_frames")
        if picture.format == "JPEG":
            picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unfit("upload_pixels") from error
    alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if max(picture.size) > LONGEST_SIDE:
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    ImageOps.exif_transpose(picture, in_place=True)
    clean = picture.convert("RGBA" if alpha else "RGB")
    if alpha and clean.getchannel("A").getextrema()[0] == 255:
        # Screenshots have a channel that says nothing.
        alpha, clean = False, clean.convert("RGB")
    pixels = clean.tobytes()
    bare = Image.frombytes(clean.mode, clean.size, pixels)
    out = io.BytesIO()
    bare.save(out, "PNG", compress_level=3)
    facts: dict[str, object] = {
        "width": bare.width,
        "height": bare.height,
        "alpha": alpha,
        "sha256": hashlib.sha256(pixels).hexdigest(),
    }
    return facts, out.getvalue()


def main() -> None:
    """Read, decode, write; every failure is one line of JSON with a code."""
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    confine()
    try:
        facts, png = decode(data)
    except Unfit as error:
        facts, png = {"error": str(error)}, b""
    except MemoryError:
        facts, png = {"error": "upload_pixels"}, b""
    except BaseException:
        # Whatever a broken file does to the decoder, it is a broken file.
        facts, png = {"error": "upload_broken"}, b""
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + png)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
