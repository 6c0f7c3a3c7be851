"""The XMP packet: IPTC's digital source type, and for *cn* the AIGC field of TC260."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from xml.sax.saxutils import quoteattr

from moderation.marks.facts import Facts, LabelProfile

TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
PRODUCER = "Atelier"


def aigc(facts: Facts) -> str:
    """The AIGC field of GB 45438-2025 as JSON: Label 1 means "certainly made by AI"."""
    return json.dumps(
        {
            "Label": "1", "ContentProducer": PRODUCER, "ProduceID": facts.mark_id,
            "ReservedCode1": "", "ContentPropagator": PRODUCER, "PropagateID": facts.mark_id,
            "ReservedCode2": "",
        },
        separators=(",", ":"),
    )  # fmt: skip


def packet(facts: Facts) -> bytes:
    """The packet to embed in the picture's file."""
    made = datetime.fromtimestamp(facts.made_at / 1000, tz=UTC).isoformat(timespec="seconds")
    fields = {
        "Iptc4xmpExt:DigitalSourceType": facts.source.uri,
        "xmp:CreatorTool": f"{PRODUCER} ({facts.model})",
        "xmp:CreateDate": made,
    }
    if facts.profile is LabelProfile.CN:
        fields["TC260:AIGC"] = aigc(facts)
    spaces = {
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "TC260": TC260,
    }
    used = {key.partition(":")[0] for key in fields}
    names = "".join(f"\n  xmlns:{k}={quoteattr(v)}" for k, v in spaces.items() if k in used)
    attributes = "".join(f"\n  {key}={quoteattr(value)}" for key, value in fields.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'<rdf:Description rdf:about=""{names}{attributes}/>\n'
        '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()
