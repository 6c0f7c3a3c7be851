"""Filters on Discord: marks on the bytes it received, and a server's own AutoMod rules."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot.root import remarked
from moderation.marks.facts import Facts, LabelProfile
from moderation.marks.identity import ensure_identity
from moderation.marks.manifest import read
from moderation.marks.marker import as_png, mark
from moderation.marks.verify import check, decoded, suffix_of
from storage.models import Workspace
from tests.discord.stage import Stage

FACTS = Facts(
    model="starter-icons", made_at=1_800_000_000_000, policy_version="1", mark_id="M4RK",
    profile=LabelProfile.CN,
)  # fmt: skip


async def test_a_picture_made_smaller_is_signed_again(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too large for the server: what Discord received carries both marks and the XMP packet."""
    identity = ensure_identity(tmp_path)
    monkeypatch.setattr(stage.client.presenter.hands, "_remark", partial(remarked, tmp_path))
    large = Image.merge("RGB", [Image.effect_noise((2000, 2000), 60) for _ in range(3)])
    data, _ = mark(large, FACTS, identity, as_png)
    assert len(data) > 10 * 2**20
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple", seed="7")
    stage.finish(stage.picture(data=data))
    await stage.deliver()
    (card,) = stage.cards()
    (file,) = card.attachments
    sent = stage.env.backend.cdn.get(file["url"])
    assert sent is not None and len(sent) == file["size"] <= 10 * 2**20
    suffix = suffix_of(sent)
    assert suffix in ("webp", "jpg")
    checked = check(sent, suffix, decoded(sent), identity.ca)
    assert (checked.signature, checked.watermark, checked.made_here) == ("ours", "ours", "yes")
    said = read(sent, suffix, identity.ca)
    assert said is not None and said.trusted and said.ingredients == 1
    assert said.ours["mark"] == "M4RK" and said.source_type == "trainedAlgorithmicMedia"
    assert b"trainedAlgorithmicMedia" in sent and b"AIGC" in sent


MANAGE_GUILD = 1 << 5
RULES = (
    ("insults", 1, {"keyword_filter": ["grumblefoo", "snark*"], "regex_patterns": [],
                    "allow_list": ["snarkless"]}),
    ("slow", 1, {"keyword_filter": [], "regex_patterns": ["(a+)+$"], "allow_list": []}),
    ("mentions", 5, {"mention_total_limit": 5}),
)  # fmt: skip


def settings_of(stage: Stage) -> dict[str, Any]:
    from sqlmodel import select

    return stage.database.read(lambda s: dict(s.exec(select(Workspace)).one().settings))


async def test_a_servers_automod_rules_come_in_by_a_button(stage: Stage) -> None:
    admins: Any = stage.admins
    admins._role.permissions |= 1 << 13  # manage messages: who sees /mod at all
    ours: Any = stage.guild.roles["TestBot"]
    ours._role.permissions &= ~MANAGE_GUILD
    refused = await stage.boss.slash(stage.channel, "mod", action="import")
    assert "Manage Server" in stage.private(refused), "our role may not read them"
    ours._role.permissions |= MANAGE_GUILD
    for name, kind, metadata in RULES:
        await stage.client.http.create_auto_moderation_rule(
            stage.guild.id, reason=None, name=name, event_type=1, trigger_type=kind,
            trigger_metadata=metadata, actions=[{"type": 1}], enabled=True, exempt_roles=[],
            exempt_channels=[],
        )  # fmt: skip
    shown = await stage.boss.slash(stage.channel, "mod", action="import")
    told = stage.private(shown)
    assert "2 rules" in told and "(a+)+$" in told, told
    assert "grumblefoo" not in told, "the words themselves are shown to nobody"
    assert "lists" not in settings_of(stage)
    await stage.boss.click(shown.response, label="Add them")
    lists = settings_of(stage)["lists"]
    assert lists["deny"][0]["terms"] == ["grumblefoo"] and lists["allow"] == ["snarkless"]
    assert "snark" in lists["patterns"][0]["pattern"]
    tried = await stage.boss.slash(stage.channel, "mod", action="try", text="you grumblefoo")
    assert "list.insults" in stage.private(tried)
    again = await stage.boss.slash(stage.channel, "mod", action="import")
    assert "nothing" in stage.private(again)
    assert stage.messages() == [], "the public channel shows none of it"
