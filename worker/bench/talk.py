"""Measures of answers: d (tokens a second) and e (time to the first token)."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

import torch

from storage.schema import Turn
from worker.bench.driver import Driver
from worker.bench.measure import Measure, Timed, percentile, timed
from worker.bench.subjects import Subjects
from worker.engine.outputs import Text
from worker.engine.runners.chat import PREFIX_BYTES

USERS = 8
QUESTIONS = [f"Tell me about number {n}, and {'more ' * n}please" for n in range(USERS)]


def _ids(subjects: Subjects, text: str) -> Any:
    prompt = subjects.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    return subjects.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]


def _one(subjects: Subjects, text: str, tokens: int) -> int:
    with torch.inference_mode():
        ids = _ids(subjects, text)
        out = subjects.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
    return int(out.shape[1] - ids.shape[1])


def _padded(subjects: Subjects, tokens: int) -> int:
    """transformers' own batch: left-padded, everybody from the first token to the last."""
    with torch.inference_mode():
        rows = [_ids(subjects, text)[0] for text in QUESTIONS]
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            ids[n, longest - len(row) :], mask[n, longest - len(row) :] = row, 1
        out = subjects.model.generate(
            ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
    return int(out.shape[1] - longest) * len(rows)


def throughput(subjects: Subjects, rounds: int, tokens: int) -> list[Measure]:
    """d: eight answers at once, against one after another and against transformers' batch.

    The random model seldom ends by itself; tokens are counted, so the ratio is of tokens a
    second all the same.
    """
    specs = [subjects.question(text, tokens) for text in QUESTIONS]
    counts: dict[str, int] = {}
    with Driver(subjects) as driver:

        def engine() -> Any:
            answers = driver.answers(specs)
            counts["engine"] = sum(a.tokens_out for a in answers)
            return [a.text for a in answers]

        def sequential() -> None:
            counts["sequential"] = sum(_one(subjects, t, tokens) for t in QUESTIONS)

        def padded() -> None:
            counts["padded"] = _padded(subjects, tokens)

        ways: dict[str, Any] = {"sequential": sequential, "engine": engine, "padded": padded}
        for way in ways.values():
            way()
        spent: dict[str, list[Timed]] = {name: [] for name in ways}
        together: list[str] = []
        for _ in range(rounds):
            for name, way in ways.items():
                seconds, texts = timed(way)
                spent[name].append(seconds)
                together = texts or together
        apart = [driver.answers([spec])[0].text for spec in specs]
    equal = sum(a == b for a, b in zip(together, apart, strict=True))
    told = f"{equal} of {USERS} answers equal to the same alone"

    def over(name: str) -> list[float]:
        """Tokens a second of the engine over those of another way, round by round."""
        pairs = zip(spent[name], spent["engine"], strict=True)
        return [(a.cpu / counts[name]) / (b.cpu / counts["engine"]) for a, b in pairs]

    gain, raw = over("sequential"), over("padded")
    speed = _bandwidth() / subjects.chat.size
    rate = counts["engine"] / max(median(one.wall for one in spent["engine"]), 1e-9)
    return [
        Measure("d", "eight answers: tokens a second / one after another", median(gain), "x",
                ">= 2.5", min(gain), max(gain), rounds, told, "cpu"),
        Measure("d", "the same / transformers' padded batch (admits nobody late)", median(raw), "x",
                ">= 0.95", min(raw), max(raw), rounds, told, "cpu"),
        Measure("d", "fraction of limit: tokens a second / (bandwidth / bytes of weights), 8 rows",
                rate / (speed * USERS), "x", identity=told),
    ]  # fmt: skip


def _bandwidth() -> float:
    """Bytes a second this machine reads with one thread."""
    block = torch.ones(64_000_000 // 4)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        block.sum()
        best = max(best, 64e6 / (time.perf_counter() - began))
    return best


def _forget(subjects: Subjects) -> None:
    """Every beginning is unknown again."""
    chat = subjects.chat
    chat.prefixes = type(chat.prefixes)(chat.chunk, PREFIX_BYTES.get("cpu", 0))


async def _first(driver: Driver, spec: Any, began: float) -> float:
    run = driver.engine.submit("t", spec)
    first = 0.0
    async for output in run:
        if isinstance(output, Text) and not first:
            first = time.perf_counter() - began
    return first or time.perf_counter() - began


async def _firsts(driver: Driver, specs: Any) -> list[float]:
    began = time.perf_counter()
    return list(await asyncio.gather(*(_first(driver, spec, began) for spec in specs)))


def first_token(subjects: Subjects, rounds: int) -> list[Measure]:
    """e: the slowest of eight simultaneous first tokens over a lone one; a known beginning."""
    specs = [subjects.question(text, 12) for text in QUESTIONS]
    long = "You are careful and kind. " * 20
    ratios, kept = [], []
    with Driver(subjects) as driver:
        driver.wait(_firsts(driver, specs))
        for number in range(rounds):
            _forget(subjects)
            lone = driver.wait(_firsts(driver, specs[-1:]))[0]
            _forget(subjects)
            ratios.append(percentile(driver.wait(_firsts(driver, specs)), 0.95) / lone)
            shared = [
                subjects.question("x", 4).model_copy(
                    update={"turns": (Turn(role="system", text=f"{number} {long}"),
                                      Turn(role="user", text=f"question {n}"))}
                )
                for n in range(2)
            ]  # fmt: skip
            cold = driver.wait(_firsts(driver, shared[:1]))[0]
            warm = driver.wait(_firsts(driver, shared[1:]))[0]
            kept.append(warm / cold)
    return [
        Measure("e", "first token, slowest of eight at once / alone", median(ratios), "x", "<= 8",
                min(ratios), max(ratios), rounds, "the same questions"),
        Measure("e", "first token with a known beginning / without", median(kept), "x", "<= 0.2",
                min(kept), max(kept), rounds, "512 tokens of system prompt"),
    ]  # fmt: skip
