"""A claimed job to its end: its pictures read and judged, its prompt written, its kind chosen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from moderation.lists import lists_of
from moderation.marks.facts import profile_of
from moderation.record import About
from moderation.settings import policy_of
from storage.endings import Ending
from storage.errors import MemberError, OperatorError
from storage.jobs import Claim
from storage.schema import (
    AnySpec,
    ImageSpec,
    Outcome,
    new_id,
)
from storage.workspaces import settings_of
from worker.answer_run import AnswerRun
from worker.composed import ComposedRun, is_composed
from worker.engine.errors import BadPicture, ModelUnavailable, OutOfMemory, StepFailed
from worker.judging import Bench
from worker.picture_run import PictureRun
from worker.sources import SourceGone, read_sources, sources_of
from worker.verdicts import failed, rejected
from worker.writing import needs_writing, write_prompt

if TYPE_CHECKING:
    from worker.engine.run import Run
    from worker.generate import Tools

log = logging.getLogger(__name__)


async def produce(tools: Tools, claim: Claim, run: Run) -> Ending:
    """Run a job to its end. Raises ``Cancelled`` and ``EngineStopped`` for the caller to settle."""
    settings = await tools.database.look(settings_of, claim.workspace_id)
    about = About(claim.workspace_id, claim.member_id, job_id=claim.job_id)
    policy = policy_of(settings, adult=claim.age_restricted)
    bench = Bench(tools, policy, lists_of(settings), about)
    try:
        found = await bench.ask(claim.spec.prompt, claim.verdict)
        if found.flags:
            claim = replace(claim, verdict=claim.verdict | found)
        verdict = claim.verdict
        pictures: Mapping[str, Image.Image] = {}
        if sources_of(claim.spec):
            try:
                pictures, found = await read_sources(bench, claim.spec)
            except SourceGone:
                run.finish()
                return failed("source_gone", run)
            verdict |= found
            # An answer about a doubtful picture is as doubtful as a picture made from one.
            claim = replace(claim, verdict=verdict)
            if verdict.outcome is Outcome.BLOCK:
                run.finish()
                return rejected(
                    verdict, (), bench.policy, engine_ms=run.busy_ms, code="source_refused"
                )
        spec: AnySpec = claim.spec
        notes: dict[str, Any] = {}
        writes = needs_writing(spec, tools.registry)
        if isinstance(spec, ImageSpec) and writes:
            written = await write_prompt(tools, claim, run, bench)
            notes = written.notes
            spec = spec.model_copy(update={"prompt": written.prompt, "enhance": False})
            run.spec = spec
        if pictures or writes:
            tools.engine.release(run, pictures)
        if isinstance(spec, ImageSpec):
            profile = profile_of(settings)
            return await PictureRun(
                tools, claim, spec, run, bench, verdict, profile, notes
            ).collect()
        if is_composed(spec):
            return await ComposedRun(tools, claim, spec, run, bench).collect()
        return await AnswerRun(tools, claim, spec, run, bench).collect()
    except ModelUnavailable as error:
        log.error("%s", error)
        return failed("model_unavailable", run)
    except MemberError as error:
        # What only the loaded model could tell: a sampler it cannot use, say.
        return failed(error.code, run, **{name: str(value) for name, value in error.params.items()})
    except BadPicture:
        return failed("bad_picture", run)
    except OutOfMemory:
        return failed("too_large", run)
    except StepFailed as error:
        reference = new_id()[-8:]
        log.error("bug %s in job %s", reference, claim.job_id, exc_info=error)
        return failed("bug", run, reference=reference)
    except OperatorError as error:
        log.error("%s", error)
        return failed("operator", run)
