"""Stage ``image.nudity``: NudeNet and open_nsfw together; they err on different pictures.

Either over its high line, or both over their low lines, blocks under the default policy; one over
its low line holds. On 264 harmless pictures one of them over its low line happened once or not at
all, both never (MODERATION.md 2.1).

A face in an uploaded picture is noted: what is made from it and turns out bare is then a real
person's, whatever the prompt says (:func:`bare_from_face`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from moderation.pipeline import note_score
from moderation.policy import Surface
from moderation.stages.nudenet import FLOOR, NudeNetStage, prepare
from moderation.stages.opennsfw import OpenNsfw
from storage.schema import Category, Flag, Verdict

if TYPE_CHECKING:
    from moderation.pipeline import Content

LOW, HIGH = {"nudenet": 0.5, "opennsfw": 0.7}, {"nudenet": 0.7, "opennsfw": 0.9}
"""The lines of the two; scores below the low one are nothing."""

HOLDS, BLOCKS = 0.5, 0.7
"""SEX on the policy's scale."""

FACE = 0.5
"""Score from which a face is a face."""

FACE_DETAIL = "face"
_FACE_SCORE = 0.1


class NudityStage:
    """SEX flags from both; REAL when a photographed face meets sexual words."""

    name = "image.nudity"
    surfaces = frozenset({Surface.OUTPUT, Surface.PREVIEW, Surface.UPLOAD})
    version = "nudenet-3.4.2+opennsfw-0.1.0"

    def __init__(
        self,
        names_minor: Callable[[str], bool] | None = None,
        names_sexual: Callable[[str], bool] | None = None,
    ) -> None:
        self._nudenet = NudeNetStage(names_minor=names_minor)
        self._opennsfw = OpenNsfw()
        self._names_sexual = names_sexual

    def load(self) -> None:
        """Read both networks' weights."""
        self._nudenet.load()
        self._opennsfw.load()

    def check(self, content: Content) -> Sequence[Flag]:
        """The findings. Raises on a picture that cannot be judged, which holds it."""
        if content.image is None:
            raise ValueError("no picture")
        flags = [
            flag.model_copy(update={"stage": self.name}) for flag in self._nudenet.check(content)
        ]
        bare = max((f.score for f in flags if f.category is Category.SEX), default=0.0)
        whole = self._opennsfw.score(content.image)
        note_score("image.nudity/nudenet", bare)
        note_score("image.nudity/opennsfw", whole)
        scaled = on_policy_scale(whole)
        if scaled >= FLOOR:
            flags.append(self._flag(Category.SEX, scaled, "opennsfw"))
        if bare >= LOW["nudenet"] and whole >= LOW["opennsfw"]:
            flags.append(self._flag(Category.SEX, max(BLOCKS, bare), "both"))
        if content.surface is Surface.UPLOAD:
            flags += self._faces(content)
        return flags

    def _faces(self, content: Content) -> list[Flag]:
        found = 0.0
        for blob in prepare(content.image):
            scores = self._nudenet.scores(blob)
            found = max(found, scores.get("FACE_FEMALE", 0.0), scores.get("FACE_MALE", 0.0))
        note_score("image.nudity/face", found)
        if found < FACE:
            return []
        flags = [self._flag(Category.REAL, _FACE_SCORE, FACE_DETAIL)]
        sexual = self._names_sexual
        if sexual is not None and any(map(sexual, (content.text or "", *content.context))):
            flags.append(self._flag(Category.REAL, 0.9, "face and sexual words"))
        return flags

    def _flag(self, category: Category, score: float, detail: str) -> Flag:
        return Flag(category=category, score=min(score, 1.0), stage=self.name, detail=detail)


def on_policy_scale(score: float) -> float:
    """open_nsfw's score where its low line is 0.5 and its high line 0.7, in straight pieces."""
    low, high = LOW["opennsfw"], HIGH["opennsfw"]
    if score < low:
        return score / low * HOLDS
    if score < high:
        return HOLDS + (score - low) / (high - low) * (BLOCKS - HOLDS)
    return BLOCKS + (score - high) / (1.0 - high) * (1.0 - BLOCKS)


def has_face(verdict: Verdict) -> bool:
    """Whether a face was noted in a start picture, or in what its own start picture was."""
    return any(_is_note(flag) for flag in verdict.flags)


def without_face(verdict: Verdict) -> Verdict:
    """The same without that note: a face that we drew ourselves is nobody's."""
    kept = frozenset(flag for flag in verdict.flags if not _is_note(flag))
    return verdict.model_copy(update={"flags": kept})


def _is_note(flag: Flag) -> bool:
    return flag.category is Category.REAL and flag.detail == FACE_DETAIL


def bare_from_face(start: Verdict, made: Verdict) -> Verdict:
    """The verdict on what was made from a picture with a face: nudity in it is a real person's.

    ``start`` is the verdict on the start pictures. From the hold line of nudity on this blocks.
    """
    bare = max((f.score for f in made.flags if f.category is Category.SEX), default=0.0)
    if not has_face(start) or bare < HOLDS:
        return made
    from moderation.policy import DEFAULT_POLICY, decide

    flag = Flag(category=Category.REAL, score=0.9, stage="image.nudity", detail="bare from a face")
    return made | decide([flag], DEFAULT_POLICY, Surface.OUTPUT)
