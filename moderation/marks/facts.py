"""What the marks say, and which are wanted. Pure."""

from __future__ import annotations

from enum import StrEnum

from storage.schema import Frozen, Millis

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class SourceType(StrEnum):
    """IPTC's digital source types that apply to us."""

    TRAINED = "trainedAlgorithmicMedia"
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"

    @property
    def uri(self) -> str:
        """The controlled vocabulary's address."""
        return IPTC + self.value


class LabelProfile(StrEnum):
    """Which marks a workspace's pictures carry (setting ``label_profile``).

    The signed manifest, the IPTC field and the watermark are in every profile but *none*.
    """

    NONE = "none"  # no marks at all: for research, where the law allows it
    EU = "eu"  # AI Act article 50: signed manifest and watermark
    CN = "cn"  # GB 45438-2025: visible text and the AIGC field besides
    CA = "ca"  # California SB 942: a manifest that names provider, system and time


def profile_of(settings: dict[str, object]) -> LabelProfile:
    """A workspace's profile; *eu* when it chose none or something unknown."""
    try:
        return LabelProfile(str(settings.get("label_profile", LabelProfile.EU)))
    except ValueError:
        return LabelProfile.EU


class Facts(Frozen):
    """About one picture. Neither the member nor the prompt is among them, on purpose."""

    model: str
    made_at: Millis
    policy_version: str
    mark_id: str
    """Random, given to this picture only: it says nothing about who made it."""
    source: SourceType = SourceType.TRAINED
    profile: LabelProfile = LabelProfile.EU
