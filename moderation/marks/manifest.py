"""Signs and reads C2PA manifests. Imports the C2PA library inside its functions: it is 23 MB."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moderation.marks.facts import IPTC, Facts
from moderation.marks.identity import Identity

ASSERTION = "org.atelier.made"
"""Our own assertion: model, time, policy version, the picture's random mark."""

MIME = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
_QUIET = {"builder": {"thumbnail": {"enabled": False}}}
"""With thumbnails a manifest grows from 13 KB to hundreds."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A picture this one was made from, as it was given to us, with whatever marks it has."""

    data: bytes
    suffix: str
    title: str = "start picture"


def sign(
    data: bytes, suffix: str, facts: Facts, identity: Identity, parents: tuple[Ingredient, ...] = ()
) -> bytes:
    """The file with a signed manifest. ``suffix``: png, webp or jpg.

    Any change to the file afterwards breaks the signature and any re-encoding drops it, so this
    is the last step before storage. A parent's own manifest is kept as an ingredient. Raises
    whatever the library raises on a file it cannot read.
    """
    made = datetime.fromtimestamp(facts.made_at / 1000, tz=UTC).isoformat(timespec="seconds")
    action: dict[str, Any] = {
        "action": "c2pa.created", "digitalSourceType": facts.source.uri, "when": made,
        "softwareAgent": {"name": facts.model},
    }  # fmt: skip
    actions = [action]
    if parents:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent0"]}}
        edited = {**action, "action": "c2pa.edited"}
        actions = [opened, edited]
    manifest = {
        "claim_generator_info": [{"name": "Atelier"}],
        "format": MIME[suffix],
        "title": f"{facts.mark_id}.{suffix}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {
                "label": ASSERTION,
                "data": {
                    "model": facts.model, "made": made, "policy": facts.policy_version,
                    "mark": facts.mark_id, "profile": str(facts.profile),
                },
            },
        ],
    }  # fmt: skip
    return _signed(data, suffix, manifest, identity, parents)


def keep_marks(original: bytes, clean: bytes, identity: Identity) -> bytes:
    """An uploaded picture's clean copy (PNG) with the original's manifest as its ingredient.

    The copy says no more than "opened and written anew": it is not ours and claims nothing. A
    picture without a manifest, or with one that cannot be read, comes back as it was cleaned.
    """
    suffix = _suffix_of(original)
    if suffix is None or read(original, suffix, None) is None:
        return clean
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent0"]}}
    manifest = {
        "claim_generator_info": [{"name": "Atelier"}], "format": MIME["png"], "title": "upload.png",
        "assertions": [
            {"label": "c2pa.actions.v2",
             "data": {"actions": [opened, {"action": "c2pa.transcoded"}]}},
        ],
    }  # fmt: skip
    return _signed(clean, "png", manifest, identity, (Ingredient(original, suffix, "upload"),))


def resign(stored: bytes, copy: bytes, identity: Identity) -> bytes:
    """A smaller copy of a stored picture with the stored file's manifest as its ingredient and
    our own assertion about it again: what a chat receives when the file itself is too large.

    What was never ours, or was stored without marks, is copied without them. Raises whatever the
    library raises on a file it cannot read: a picture without its marks must not leave.
    """
    suffix, kind = _suffix_of(stored), _suffix_of(copy)
    before = read(stored, suffix, identity.ca) if suffix is not None else None
    if suffix is None or kind is None or before is None or not before.trusted:
        return copy
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent0"]}}
    smaller = {
        "action": "c2pa.transcoded", "digitalSourceType": IPTC + before.source_type,
        "softwareAgent": {"name": "Atelier"},
    }  # fmt: skip
    manifest = {
        "claim_generator_info": [{"name": "Atelier"}],
        "format": MIME[kind],
        "title": f"{before.ours.get('mark', 'copy')}.{kind}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [opened, smaller]}},
            {"label": ASSERTION, "data": before.ours},
        ],
    }
    parent = Ingredient(stored, suffix, "the picture in full")
    return _signed(copy, kind, manifest, identity, (parent,))


def _suffix_of(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "jpg" if data.startswith(b"\xff\xd8\xff") else None


def _signed(
    data: bytes,
    suffix: str,
    manifest: dict[str, Any],
    identity: Identity,
    parents: tuple[Ingredient, ...],
) -> bytes:
    import c2pa
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = serialization.load_pem_private_key(identity.key.encode("ascii"), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the signing key is not an elliptic curve key")
    signing = key

    def signature(blob: bytes) -> bytes:
        r, s = utils.decode_dss_signature(signing.sign(blob, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    context = c2pa.Context(settings=c2pa.Settings.from_dict(_QUIET))
    signed = io.BytesIO()
    signer = c2pa.Signer.from_callback(signature, c2pa.C2paSigningAlg.ES256, identity.chain, None)
    builder = c2pa.Builder(manifest, context)
    for number, parent in enumerate(parents):
        relation = "parentOf" if number == 0 else "componentOf"
        about = {"title": parent.title, "relationship": relation, "instance_id": f"parent{number}",
                 "label": f"parent{number}"}  # fmt: skip
        builder.add_ingredient(about, MIME[parent.suffix], io.BytesIO(parent.data))
    builder.sign(signer, MIME[suffix], io.BytesIO(data), signed)
    return signed.getvalue()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file's manifest says. ``valid`` means untouched since it was signed."""

    valid: bool
    trusted: bool
    """Signed by the authority that was asked about."""
    generator: str
    source_type: str
    """IPTC's word (``trainedAlgorithmicMedia``), or empty."""
    ours: dict[str, str]
    """Our own assertion; empty in other makers' manifests."""
    ingredients: int
    problems: tuple[str, ...] = ()


def read(data: bytes, suffix: str, ca: str | None) -> Manifest | None:
    """The manifest in a file, or ``None`` when it has none or one that cannot be parsed.

    ``ca`` is this studio's authority (PEM): what it signed is ``trusted``.
    """
    import c2pa

    settings: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False}}
    if ca is not None:
        settings["trust"] = {"user_anchors": ca}
    context = c2pa.Context(settings=c2pa.Settings.from_dict(settings))
    try:
        reader = c2pa.Reader(MIME[suffix], io.BytesIO(data), context=context)
        said = json.loads(reader.json())
    except c2pa.C2paError:
        return None
    active = said.get("manifests", {}).get(said.get("active_manifest"), {})
    state = str(said.get("validation_state", ""))
    problems = tuple(
        sorted({str(status.get("code", "")) for status in said.get("validation_status", [])})
    )
    ours: dict[str, str] = {}
    source = ""
    for assertion in active.get("assertions", []):
        body = assertion.get("data", {})
        if assertion.get("label") == ASSERTION:
            ours = {str(k): str(v) for k, v in body.items()}
        for action in body.get("actions", []) if isinstance(body, dict) else []:
            source = str(action.get("digitalSourceType", source)).removeprefix(IPTC) or source
    agents = active.get("claim_generator_info") or [{}]
    return Manifest(
        valid=state in ("Valid", "Trusted"),
        trusted=state == "Trusted",
        generator=str(agents[0].get("name", "")),
        source_type=source,
        ours=ours,
        ingredients=len(active.get("ingredients", [])),
        problems=problems,
    )
