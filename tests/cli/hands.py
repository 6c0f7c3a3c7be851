"""A worker without models: claims like the real one, makes tiny pictures, obeys its prompts."""

from __future__ import annotations

import hashlib
import io
import threading
import time

from PIL import Image

from storage import jobs
from storage.blobs import Blobs
from storage.claims import claim
from storage.clock import now_ms
from storage.database import Database
from storage.endings import Ending, Exchange, end_job
from storage.jobs import Claim, Made
from storage.schema import (
    Category,
    ChatSpec,
    Flag,
    GenerationStatus,
    ImageSpec,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
)

HELD = Verdict(
    outcome=Outcome.HOLD, flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.x")})
)


class Hands(threading.Thread):
    """Ends jobs as their prompt says: ``hold``, ``fail``, ``reject``, ``slow``, else a success.

    ``stubborn`` is like ``slow``, but does not hear the member's wish to stop.
    """

    def __init__(self, database_url: str, blobs: Blobs) -> None:
        super().__init__(daemon=True)
        self._database = Database(database_url)
        self._blobs = blobs
        self._over = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self.join(10)
        self._database.close()

    def run(self) -> None:
        """Claim and end jobs until stopped."""
        room = {JobKind.IMAGE: 1, JobKind.CHAT: 1}
        while not self._over.wait(0.05):
            taken = self._database.write(claim, worker="hands", room=room, now=now_ms())
            if taken is not None:
                self._end(taken, self._make(taken))

    def _end(self, taken: Claim, ending: Ending) -> None:
        self._database.write(end_job, taken.job_id, taken.fence, ending, now=now_ms())

    def _make(self, taken: Claim) -> Ending:
        spec = taken.spec
        if "fail" in spec.prompt:
            return Ending(status=JobStatus.FAILED, error_code="bad_picture")
        if "reject" in spec.prompt:
            return Ending(
                status=JobStatus.REJECTED, error_code="output_refused",
                error_params={"category_code": "SEX"},
            )  # fmt: skip
        if "slow" in spec.prompt or "stubborn" in spec.prompt:
            return self._wait(taken, stubborn="stubborn" in spec.prompt)
        if isinstance(spec, ChatSpec):
            answer = f"You said: {spec.prompt}"
            held = "hold" in spec.prompt
            made = Made(
                index=0, seed=spec.seed, text=answer, recipe={"seed": spec.seed},
                status=GenerationStatus.HELD if held else GenerationStatus.VISIBLE,
                verdict=(HELD if held else Verdict()).dump(),
            )  # fmt: skip
            return Ending(
                status=JobStatus.SUCCEEDED, made=(made,), cost=1,
                verdict=HELD if held else Verdict(),
                exchange=Exchange(thread=spec.thread, question=spec.prompt, answer=answer),
            )  # fmt: skip
        held = "hold" in spec.prompt
        return Ending(
            status=JobStatus.SUCCEEDED, cost=spec.count, verdict=HELD if held else Verdict(),
            made=tuple(self._picture(spec, index, held) for index in range(spec.count)),
        )  # fmt: skip

    def _picture(self, spec: ImageSpec, index: int, held: bool) -> Made:
        image = Image.new("RGB", (8, 8), (spec.seed_of(index) % 256, 0, 0))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return Made(
            index=index, seed=spec.seed_of(index), recipe={"seed": spec.seed_of(index)},
            status=GenerationStatus.HELD if held else GenerationStatus.VISIBLE,
            verdict=(HELD if held else Verdict()).dump(), blob=self._blobs.put(
                buffer.getvalue(), "png"
            ),
            width=8, height=8, sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        )  # fmt: skip

    def _wait(self, taken: Claim, *, stubborn: bool) -> Ending:
        """Work until somebody cancels, like a picture of very many steps."""
        for _ in range(1200):
            time.sleep(0.05)
            lease = self._database.write(jobs.renew, taken.job_id, taken.fence, now=now_ms())
            if (lease.cancelled and not stubborn) or self._over.is_set():
                break
        return Ending(status=JobStatus.CANCELLED)
