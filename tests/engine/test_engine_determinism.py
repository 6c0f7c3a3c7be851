"""A seed is a promise: the same bits alone, beside anyone, joining late and leaving early."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from storage.schema import ChatSpec, ImageSpec, JobKind
from worker.engine.engine import Engine
from worker.engine.exact import make_exact, shared_rows
from worker.engine.outputs import Answer, Output, Picture, Progress
from worker.engine.run import Run
from worker.engine.runners.families.base import UNET_SAMPLERS
from worker.engine.runners.image import ImageRunner


async def drain(run: Run) -> list[Output]:
    return [o async for o in run]


def hashes(outputs: Sequence[Output]) -> list[str]:
    return [o.sha256 for o in outputs if isinstance(o, Picture)]


def crowd(image_spec: Callable[..., ImageSpec], size: int) -> list[ImageSpec]:
    """Neighbours that differ in everything a request may differ in."""
    samplers = itertools.cycle(sorted(UNET_SAMPLERS))
    return [
        image_spec(
            prompt=f"neighbour {i}", negative="x" * i, steps=2 + i % 5, seed=1000 + i,
            guidance=[0.0, 3.0, 7.5][i % 3], scheduler=next(samplers),
        )
        for i in range(size)
    ]  # fmt: skip


@pytest.mark.parametrize("neighbours", [1, 3, 7])
async def test_the_same_bits_beside_neighbours(
    neighbours: int, engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    mine = [image_spec(steps=5), image_spec(steps=4, guidance=0.0, scheduler="euler_a")]
    alone = [hashes(await drain(engine.submit("alone", spec))) for spec in mine]
    for spec, expected in zip(mine, alone, strict=True):
        runs = [engine.submit("near", s) for s in crowd(image_spec, neighbours)]
        together = await asyncio.gather(drain(engine.submit("mine", spec)), *map(drain, runs))
        assert hashes(together[0]) == expected
    # And the neighbours were not changed by me.
    for spec, outputs in zip(crowd(image_spec, neighbours), together[1:], strict=True):
        assert hashes(outputs) == hashes(await drain(engine.submit("alone", spec)))


async def test_the_same_bits_when_others_join_late_and_leave_early(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    spec = image_spec(steps=10, scheduler="dpmpp_2m")
    expected = hashes(await drain(engine.submit("alone", spec)))
    others = crowd(image_spec, 5)
    run, guests, outputs = engine.submit("mine", spec), [], []
    async for output in run:
        outputs.append(output)
        if isinstance(output, Progress) and others:
            guests.append(engine.submit("guest", others.pop()))
            if len(guests) % 2 == 0:
                guests[-2].cancel()
    assert hashes(outputs) == expected
    await asyncio.gather(*map(drain, guests), return_exceptions=True)


async def test_seeds_repeat_differ_and_count_up(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    four = await drain(engine.submit("four", image_spec(count=4, seed=41)))
    made = {o.index: o for o in four if isinstance(o, Picture)}
    assert [made[i].seed for i in range(4)] == [41, 42, 43, 44]
    assert len({p.sha256 for p in made.values()}) == 4
    third = hashes(await drain(engine.submit("one", image_spec(seed=43))))
    assert third == [made[2].sha256]
    assert made[2].recipe["seed"] == 43
    last = await drain(engine.submit("edge", image_spec(count=2, seed=2**63 - 1)))
    assert sorted(o.seed for o in last if isinstance(o, Picture)) == [0, 2**63 - 1]


async def test_the_prompt_the_size_and_the_negative_matter(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    specs = [
        image_spec(), image_spec(prompt="a blue car"), image_spec(negative="red"),
        image_spec(width=128), image_spec(guidance=9.0), image_spec(steps=6),
    ]  # fmt: skip
    found = [hashes(await drain(engine.submit("j", spec)))[0] for spec in specs]
    assert len(set(found)) == len(specs)


async def test_answers_do_not_depend_on_neighbours(
    engine: Engine, chat_spec: Callable[..., ChatSpec], image_spec: Callable[..., ImageSpec]
) -> None:
    specs = [chat_spec(f"question {i}", temperature=0.8, seed=i) for i in range(4)]
    alone = [(await drain(engine.submit("a", spec)))[-1] for spec in specs]
    mixed = await asyncio.gather(
        *(drain(engine.submit("m", spec)) for spec in specs),
        drain(engine.submit("p", image_spec(count=2))),
    )
    assert [outputs[-1] for outputs in mixed[:4]] == alone
    again = [chat_spec("question 1", temperature=0.8, seed=seed) for seed in (1, 2)]
    same, other = [(await drain(engine.submit("s", spec)))[-1] for spec in again]
    assert isinstance(same, Answer) and isinstance(other, Answer)
    assert same == alone[1]
    assert same.text != other.text


def test_exact_layers_keep_their_bits_at_every_batch_size() -> None:
    torch.manual_seed(3)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(16, 8, 1),
        torch.nn.Flatten(), torch.nn.Linear(8 * 36, 24), torch.nn.GELU(), torch.nn.Linear(24, 5),
    )  # fmt: skip
    x = torch.randn(9, 8, 6, 6)
    before = net(x)
    make_exact(net)
    with torch.inference_mode():
        alone = torch.cat([net(x[i : i + 1]) for i in range(9)])
        for size in range(1, 10):
            assert torch.equal(net(x[:size]), alone[:size])
    assert torch.allclose(before, alone, atol=1e-5)
    assert isinstance(net[0], torch.nn.Conv2d)
    assert set(net.state_dict()) == {f"{i}.{w}" for i in (0, 2, 4, 6) for w in ("weight", "bias")}


@pytest.mark.parametrize("width", [16, 256, 1280])
def test_exact_products_do_not_depend_on_the_number_of_rows(width: int) -> None:
    """Wide products take other code for up to 15 rows with AVX-512, up to 3 with AVX2."""
    torch.manual_seed(4)
    layer = torch.nn.Linear(width, 64)
    make_exact(layer)
    x = torch.randn(300, width)
    with torch.inference_mode():
        whole = layer(x)
        for rows in (1, 2, 3, 4, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 77, 129):
            assert torch.equal(layer(x[5 : 5 + rows]), whole[5 : 5 + rows]), rows


@pytest.mark.parametrize("kind", [torch.nn.SiLU(), torch.nn.GELU(approximate="tanh")])
def test_exact_activations_do_not_depend_on_where_an_element_stands(kind: torch.nn.Module) -> None:
    layer = torch.nn.Sequential(kind)
    make_exact(layer)
    x = torch.randn(4096, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        whole = layer(x)
        for count in (1, 4, 8, 16, 20, 31, 40, 72, 100, 257, 1000):
            assert torch.equal(layer(x[3 : 3 + count]), whole[3 : 3 + count]), count
        # Half of a gated layer is a slice: no row of it has an end of its own either.
        table = x.reshape(64, 64)
        for rows in (1, 3, 30, 64):
            half = layer(table[:rows, :20])
            assert torch.equal(half, whole.reshape(64, 64)[:rows, :20]), rows


def test_a_machine_whose_kernels_depend_on_the_batch_is_noticed(
    image_runner: ImageRunner, image_spec: Callable[..., ImageSpec]
) -> None:
    def rude(rows: Sequence[int]) -> list[torch.Tensor]:
        return [torch.tensor([float(row) + 0.1 * len(rows)]) for row in rows]

    apart, equal = shared_rows(rude, range(3))
    assert not equal
    assert torch.equal(torch.cat(apart), torch.cat([rude([i])[0] for i in range(3)]))
    with torch.inference_mode():
        works = [image_runner.begin(image_spec(seed=i), 0) for i in range(2)]
        shared = image_runner.forward(works)
        known = dict(image_runner._shareable)
        image_runner._shareable = dict.fromkeys(known, False)
        assert all(
            torch.equal(a.outs[0], b.outs[0])
            for a, b in zip(shared, image_runner.forward(works), strict=True)
        )
        image_runner._shareable = known
    assert all(known.values())


async def test_a_long_picture_and_an_answer_take_turns(
    engine: Engine, image_spec: Callable[..., ImageSpec], chat_spec: Callable[..., ChatSpec]
) -> None:
    seen: list[str] = []

    async def watch(name: str, run: Run) -> None:
        async for output in run:
            if not isinstance(output, Picture | Answer):
                seen.append(name)

    await engine.warm(["tiny", "talk"])
    long = engine.submit("p", image_spec(steps=40))
    ask = engine.submit("a", chat_spec("x", max_tokens=30, temperature=1.5))
    await asyncio.gather(watch("picture", long), watch("answer", ask))
    # Bytes of unfinished characters give no text, so an answer's turns are at least its pieces.
    until = len(seen) - 1 - seen[::-1].index("answer")
    steps = seen[:until].count("picture")
    assert 0 < steps <= 32
    assert long.busy_ms > 0 and ask.busy_ms > 0
    assert engine.room() == {JobKind.IMAGE: 8, JobKind.CHAT: 8}


async def test_pictures_of_a_batch_equal_their_arrays(
    engine: Engine, image_spec: Callable[..., ImageSpec]
) -> None:
    outputs = await drain(engine.submit("j", image_spec()))
    made = next(o for o in outputs if isinstance(o, Picture))
    array = np.asarray(made.image)
    assert array.shape == (64, 64, 3) and array.dtype == np.uint8
    assert array.std() > 1
