"""Measures of what surrounds the engine: i (moderation) and j (delivery)."""

from __future__ import annotations

import asyncio
import base64
import io
from statistics import median

import numpy as np
from PIL import Image

from moderation.build import prompt_pipeline
from moderation.build_output import output_pipeline
from moderation.pipeline import Content, Surface
from moderation.policy import Policy
from worker.bench.driver import Driver
from worker.bench.measure import Measure, Timed, timed
from worker.bench.subjects import PROMPTS, Subjects
from worker.encode import ENCODERS

MBIT = 20.0
"""Uplink that bytes are sent over, in megabits a second."""


def photo(side: int = 1024) -> Image.Image:
    """A picture with the spectrum of photographs (1/f), always the same."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        noise = np.fft.rfft2(rng.standard_normal((side, side))) / frequency
        plane = np.fft.irfft2(noise, (side, side))
        low, high = np.percentile(plane, [1, 99])
        planes.append(np.clip((plane - low) / (high - low), 0, 1))
    return Image.fromarray((np.stack(planes, -1) * 255).round().astype("uint8"), "RGB")


def delivery(rounds: int) -> list[Measure]:
    """j: encode and send as we do against PNG in base64 at 20 Mbit/s; bytes; the lossless way."""
    image = photo()
    sizes: dict[str, int] = {}

    def ours() -> None:
        sizes["webp"] = len(ENCODERS["webp"](image, None)[0])

    def png() -> None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        sizes["png"] = len(base64.b64encode(buffer.getvalue()))

    def seconds(spent: Timed, size: int) -> float:
        return spent.cpu + size * 8 / (MBIT * 1e6)

    ratios, encodes = [], []
    for _ in range(rounds):
        a, _ = timed(ours)
        b, _ = timed(png)
        ratios.append(seconds(a, sizes["webp"]) / seconds(b, sizes["png"]))
        encodes.append(a.cpu * 1000)
    lossless = Image.open(io.BytesIO(ENCODERS["lossless"](image, None)[0])).convert("RGB")
    equal = np.array_equal(np.asarray(lossless), np.asarray(image))
    told = "lossless on request: " + ("pixels equal" if equal else "PIXELS DIFFER")
    return [
        Measure("j", "encode and send 1024 pixels / PNG in base64", median(ratios), "x", "<= 0.25",
                min(ratios), max(ratios), rounds, told, "cpu",
                f"encoding takes {median(encodes):.0f} ms"),
        Measure("j", "bytes / PNG in base64", sizes["webp"] / sizes["png"], "x", "<= 0.15",
                identity=told, clock="count"),
    ]  # fmt: skip


def moderation(subjects: Subjects, rounds: int) -> list[Measure]:
    """i: judging a prompt, and a picture's check over its making."""
    return asyncio.run(_moderation(subjects, rounds))


async def _moderation(subjects: Subjects, rounds: int) -> list[Measure]:
    texts, pictures, policy = prompt_pipeline(), output_pipeline(), Policy()
    await texts.load()
    await pictures.load()
    spent_text, spent_image, outcomes = [], [], set()

    async def judge(content: Content, gate: object) -> float:
        import time

        began = time.process_time()
        verdict = await gate.judge(content, policy)  # type: ignore[attr-defined]
        outcomes.add(verdict.outcome.word)
        return (time.process_time() - began) * 1000

    image = photo(subjects.size)
    await judge(Content(surface=Surface.OUTPUT, image=image, context=("a red apple",)), pictures)
    for number in range(max(rounds, 5)):
        for prompt in PROMPTS:
            content = Content(surface=Surface.PROMPT, text=f"{prompt} number {number}")
            spent_text.append(await judge(content, texts))
        content = Content(surface=Surface.OUTPUT, image=image, context=("a red apple",))
        spent_image.append(await judge(content, pictures))

    def make() -> float:
        with Driver(subjects) as driver:
            driver.pictures([subjects.spec()])
            return timed(lambda: driver.pictures([subjects.spec()]))[0].cpu * 1000

    whole = await asyncio.to_thread(make)
    told = f"verdicts: {', '.join(sorted(outcomes))}"
    return [
        Measure("i", "judging a prompt, all text stages", median(spent_text), "ms", "<= 30",
                min(spent_text), max(spent_text), len(spent_text), told, "cpu"),
        Measure("i", "judging a picture / making it", median(spent_image) / whole, "x", "<= 0.5",
                rounds=len(spent_image), identity=told, clock="cpu",
                also=f"{median(spent_image):.0f} of {whole:.0f} ms"),
    ]  # fmt: skip
