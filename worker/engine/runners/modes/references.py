"""Reference pictures for models that read pictures themselves: FLUX.2-klein's further tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from storage.schema import ImageSpec, Mode
from worker.engine.runners import pixels
from worker.engine.runners.base import Pictures
from worker.engine.runners.families.base import Family
from worker.engine.runners.families.flux2 import Flux2Klein
from worker.engine.runners.modes.canvas import canvas_of
from worker.engine.runners.work import Hook, ImageWork, Row


class ReferencesHook(Hook):
    """Each picture's tokens stand behind those that are denoised, in every pass.

    As ``Flux2KleinPipeline`` does with ``image=[...]``: several pictures are told apart by their
    place in time, and the network decides what of each it uses. Only pictures with references of
    the same sizes share a pass.
    """

    def __init__(self, family: Flux2Klein, spec: ImageSpec, pictures: Pictures) -> None:
        self._images = [pictures[source.blob].convert("RGB") for source in spec.references]
        if spec.mode is not Mode.TEXT:
            # As in diffusers' only pipeline that starts klein from a picture: it also reads it.
            size = family.rounded(spec.width), family.rounded(spec.height)
            self._images.insert(0, canvas_of(spec, pictures, *size).image)
        self._tokens, self._ids = family.read_references(self._images)
        grids = ",".join(f"{image.width}x{image.height}" for image in self._images)
        self.tag = f"references:{grids}"

    def start(self, family: Family, work: ImageWork) -> Tensor | None:
        """Only notes the pictures' hashes in the recipe."""
        work.recipe["references_sha256"] = [pixels.digest(image) for image in self._images]
        return None

    def rows(self, family: Family, work: ImageWork, rows: Sequence[Row]) -> Sequence[Row]:
        """Both the prompt's and the negative's row see the pictures, as in the pipeline."""
        for row in rows:
            row.extras["references"] = (self._tokens, self._ids)
        return rows
