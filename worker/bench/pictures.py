"""Measures of pictures: a, b, b2, h, k, l, m, and the fraction of the limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from storage.schema import AnySpec
from worker.bench.driver import Counted, Driver
from worker.bench.measure import Measure, alternate, timed
from worker.bench.subjects import Subjects, same
from worker.engine.errors import Cancelled
from worker.engine.outputs import Output


def overhead(subjects: Subjects, rounds: int) -> list[Measure]:
    """a: a lone job by the engine against the raw pipeline, text encoding included."""
    spec = subjects.spec()
    with Driver(subjects) as driver:
        # The pipeline encodes its words each time; so must the engine, to be compared with it.
        cache: Any = subjects.image._embeddings

        def engine() -> Any:
            cache.__init__()
            return driver.pictures([spec])

        ratio = alternate(engine, lambda: subjects.raw([spec]), rounds)
    equal = same(*ratio.last) == 1
    told = "pixels equal" if equal else "PIXELS DIFFER"
    return [
        ratio.measure("a", f"engine / raw pipeline, lone job ({subjects.name})", "<= 1.05", told)
    ]


def batching(subjects: Subjects, rounds: int) -> list[Measure]:
    """b: four at once against one after another, beside what the raw pipeline gains; limit.

    All four ways in turns; every prompt is read anew in each, as the pipeline does.
    """
    specs = [subjects.spec(seed) for seed in range(4)]
    cache: Any = subjects.image._embeddings
    with Driver(subjects) as driver:

        def each() -> list[Any]:
            made = []
            for spec in specs:
                cache.__init__()
                made += driver.pictures([spec])
            return made

        def together() -> list[Any]:
            cache.__init__()
            return driver.pictures(specs)

        ways: dict[str, Any] = {
            "each": each, "together": together, "batch": lambda: subjects.raw(specs),
            "raw": lambda: [p for s in specs for p in subjects.raw([s])],
        }  # fmt: skip
        last = {name: way() for name, way in ways.items()}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                seconds, last[name] = timed(way)
                spent[name].append(seconds.cpu)
    share = same(last["each"], last["together"]) / len(specs)
    raw = same(last["raw"], last["batch"])
    told = f"{share:.0%} bit-identical to alone; the raw pipeline's batch: {raw} of 4"

    def over(first: str, second: str) -> list[float]:
        return [a / b for a, b in zip(spent[first], spent[second], strict=True)]

    def measure(name: str, found: list[float], target: str, also: str = "") -> Measure:
        return Measure("b", name, median(found), "x", target, min(found), max(found), rounds,
                       told, "cpu", also)  # fmt: skip

    return [
        measure("four pictures: one after another / together", over("each", "together"),
                ">= 0.98"),
        measure("the raw pipeline's batch of four / those together", over("batch", "together"),
                ">= 0.95",
                f"raw gain {median(over('raw', 'batch')):.3f}"),
        measure("fraction of limit: pictures a second / (1 / raw pipeline)",
                over("raw", "together"), ""),
    ]  # fmt: skip


MIXED = ((3, "ddim", 3.0), (8, "euler", 0.0), (4, "euler_a", 5.0), (6, "dpmpp_2m", 2.0),
         (5, "lcm", 0.0), (7, "ddim", 7.0), (4, "euler", 4.0), (6, "dpmpp_2m", 0.0))  # fmt: skip


def mixed(subjects: Subjects) -> list[Measure]:
    """b2: shared passes over steps, jobs of unlike steps, guidance and samplers, four at a time."""
    specs = [
        subjects.spec(seed, steps=steps, scheduler=scheduler, guidance=guidance)
        for seed, (steps, scheduler, guidance) in enumerate(MIXED)
    ]
    with Driver(subjects, max_images=4) as driver:
        runner = driver.runners["picture"]
        driver.share_all("picture")
        together = driver.hashes(specs)
        calls = runner.passes - len(specs)  # a decode is a pass of its own
        alone = [driver.hashes([spec])[0] for spec in specs]
    equal = sum(a == b for a, b in zip(together, alone, strict=True))
    return [
        Measure(
            "b2", "mixed jobs: denoiser calls / sum of steps, four at a time",
            calls / sum(spec.steps for spec in specs), "x", "<= 0.40",
            identity=f"{equal} of {len(specs)} bit-identical to alone", clock="count",
            also=f"{calls} calls for {sum(s.steps for s in specs)} steps",
        )
    ]  # fmt: skip


def switching(subjects: Subjects, rounds: int) -> list[Measure]:
    """h: what going to and fro between two resident models loses, in ms a switch."""
    picture: AnySpec = subjects.spec()
    question: AnySpec = subjects.question("hello", 16)
    with Driver(subjects) as driver:
        order = [picture, question] * 3
        apart = [picture] * 3 + [question] * 3
        lost, identical = [], True
        driver.outputs([picture, question])
        for _ in range(rounds):
            a, one = timed(lambda: [driver.outputs([spec]) for spec in order])
            b, two = timed(lambda: [driver.outputs([spec]) for spec in apart])
            lost.append((a.cpu - b.cpu) * 1000 / 5)
            identical = identical and _ends(one) == _ends(two)
        token, _ = timed(lambda: driver.outputs([subjects.question("hello", 33)]))
        short, _ = timed(lambda: driver.outputs([subjects.question("hello", 1)]))
    step = (token.cpu - short.cpu) * 1000 / 32
    return [
        Measure(
            "h", "resident models: lost per switch between chat and pictures", median(lost), "ms",
            f"<= {step + 20:.3g}", min(lost), max(lost), rounds,
            "same pictures and answers" if identical else "RESULTS DIFFER", "cpu",
            f"a decode step takes {step:.2f} ms",
        )
    ]  # fmt: skip


def _ends(outputs: Sequence[Sequence[Sequence[Output]]]) -> list[str]:
    return sorted(
        str(getattr(o[-1], "sha256", "") or getattr(o[-1], "text", "")) for [o] in outputs
    )


def previews(subjects: Subjects, rounds: int) -> list[Measure]:
    """k: one preview, from latents to the small picture, by the linear fit every model gets."""
    import torch

    from worker.engine.runners.pixels import fit_linear, linear_preview, to_image

    decode, channels = subjects.image.family.decode_cells, subjects.image.family.preview_channels
    with torch.inference_mode():
        factors = fit_linear(decode, channels)
        latents = torch.randn(1, channels, 64, 64)
        took = []
        for _ in range(max(20, rounds)):
            spent, _ = timed(lambda: to_image(linear_preview(latents, factors)).resize((128, 128)))
            took.append(spent.cpu * 1000)
    return [
        Measure("k", "preview of a 512-pixel picture", median(took), "ms", "<= 5", min(took),
                max(took), len(took), "checked before it leaves", "cpu")
    ]  # fmt: skip


def cancelling(subjects: Subjects, every: int = 1) -> list[Measure]:
    """l: passes begun after Cancel, at every point of a picture's and an answer's life, or at each
    ``every``-th of them."""
    worst, points = 0, 0
    for spec, name in ((subjects.spec(steps=5), "picture"), (subjects.question("hi", 6), "talk")):
        inner = subjects.image if name == "picture" else subjects.chat
        for at in range(1, 7, every):
            box: dict[str, Any] = {}

            def before(works: Sequence[Any], at: int = at, box: dict[str, Any] = box) -> None:
                if box["runner"].passes == at - 1 and "run" in box:
                    box["run"].cancel()

            box["runner"] = runner = Counted(inner, before)
            with Driver(subjects, {name: runner}) as driver:
                driver.wait(_cancelled(driver, spec, box))
            if runner.passes >= at:
                points += 1
                worst = max(worst, runner.passes - at + 1)
    return [
        Measure("l", "cancel: passes until the rows are free", worst, "steps", "<= 1",
                rounds=points, identity=f"at {points} points of two lives", clock="count")
    ]  # fmt: skip


async def _cancelled(driver: Driver, spec: Any, box: dict[str, Any]) -> None:
    box["run"] = run = driver.engine.submit("c", spec)
    try:
        async for _ in run:
            pass
    except Cancelled:
        return


def identity(subjects: Subjects) -> list[Measure]:
    """m: the same recipe alone, in companies of 2, 4 and 8, again, and after a restart."""
    specs = [subjects.spec(seed, guidance=3.0 * (seed % 2)) for seed in range(8)]
    with Driver(subjects) as driver:
        alone = [driver.hashes([spec])[0] for spec in specs]
        ways = [driver.hashes(specs[:n]) for n in (2, 4, 8)] + [driver.hashes(specs[::-1])[::-1]]
    with Driver(subjects) as driver:
        ways.append(driver.hashes(specs[:2]))
    found = [a == b for way in ways for a, b in zip(alone, way, strict=False)]
    return [
        Measure("m", "same recipe, same pixels (alone, in 2, 4, 8, reversed, restarted)",
                100 * sum(found) / len(found), "%", ">= 100", rounds=len(found),
                identity="SHA-256 of the raw pixels", clock="count")
    ]  # fmt: skip


def peak_memory(subjects: Subjects) -> list[Measure]:
    """Peak memory of a pass by batch size, over what is resident before it."""
    import psutil  # type: ignore[import-untyped]
    import torch

    process, runner = psutil.Process(), subjects.image
    resident = process.memory_info().rss / 1e6
    found = [Measure("mem", "resident memory of the bench's worker", resident, "MB")]
    with torch.inference_mode():
        for count in (1, 2, 4, 8):
            works = [runner.begin(subjects.spec(seed), 0) for seed in range(count)]
            peak = _peak(lambda works=works: runner.forward(works), process)
            found.append(Measure("mem", f"peak of a pass of {count}", peak / 1e6, "MB"))
    return found


def _peak(call: Any, process: Any) -> float:
    import threading

    before, highest, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, process.memory_info().rss)
            time.sleep(0.0005)

    thread = threading.Thread(target=watch)
    thread.start()
    call()
    done.set()
    thread.join()
    return float(max(0, highest - before))
