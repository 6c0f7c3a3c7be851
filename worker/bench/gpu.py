"""`atelier bench --gpu`: what only a GPU can tell (PERFORMANCE.md 8), within ten minutes.

True-size random weights, since speed and determinism need no trained ones: an SDXL-shaped UNet
and two transformers in bf16. Every figure is timed with CUDA events after a warm-up.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from worker.bench.measure import Measure

BUDGET_S = 540.0
"""Checks that would begin later than this are left out, and it is said."""

Say = Callable[[str], None]


def refusal() -> str:
    """Why these checks cannot run here; empty when they can."""
    if not torch.cuda.is_available():
        return (
            "atelier bench --gpu needs an NVIDIA GPU that torch can see, and there is none here; "
            "nothing was measured."
        )
    return ""


def checks(say: Say, *, quick: bool = False, device: str = "cuda") -> list[Measure]:
    """Runs section 8's checks one after another, as many as the time allows.

    ``device="cpu"`` with small shapes is how the tests run this very code without a GPU.
    """
    bench = Bench(device, tiny=device == "cpu", rounds=3 if quick else 7)
    began = time.perf_counter()
    found: list[Measure] = []
    for name, check in (
        ("batch", bench.batch_identity), ("curve", bench.curve), ("compile", bench.compiled),
        ("chat beside", bench.interference), ("shared weights", bench.shared_weights),
        ("swap", bench.swap),
    ):  # fmt: skip
        if time.perf_counter() - began > BUDGET_S:
            say(f"{name}: left out, the ten minutes are over")
            continue
        try:
            taken = check()
        except torch.OutOfMemoryError:
            say(f"{name}: not enough memory on this card")
            bench.free()
            continue
        found += taken
        for one in taken:
            say(f"{one.value:10.3f} {one.unit:6} {one.target:10} {one.name}")
    return found


class Bench:
    """The shapes and the clock of one device."""

    def __init__(self, device: str, *, tiny: bool, rounds: int) -> None:
        self.device, self.tiny, self.rounds = device, tiny, rounds
        self.dtype = torch.float32 if tiny else torch.bfloat16
        self._unet: Any = None

    def free(self) -> None:
        """Gives everything back."""
        self._unet = None
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def unet(self) -> Any:
        """An SDXL-shaped UNet (2.6 G weights), or a small one of its kind."""
        import diffusers

        if self._unet is None:
            library: Any = diffusers
            wide = (32, 64) if self.tiny else (320, 640, 1280)
            layers = (1, 1) if self.tiny else (1, 2, 10)
            cross = 64 if self.tiny else 2048
            downs = ("DownBlock2D", *(["CrossAttnDownBlock2D"] * (len(wide) - 1)))
            with torch.device(self.device):
                self._unet = library.UNet2DConditionModel(
                    block_out_channels=wide, transformer_layers_per_block=layers,
                    down_block_types=downs, cross_attention_dim=cross, sample_size=64,
                    up_block_types=tuple(d.replace("Down", "Up") for d in reversed(downs)),
                    attention_head_dim=tuple(max(1, w // 64) for w in wide),
                    use_linear_projection=True, norm_num_groups=8 if self.tiny else 32,
                ).eval().to(self.dtype)  # fmt: skip
            self._unet.to(memory_format=torch.channels_last)
            self.cross = cross
        return self._unet

    def inputs(self, rows: int, side: int) -> tuple[Any, Any, Any]:
        """Latents of ``side`` pixels, times and texts for so many rows, the same every time."""
        g = torch.Generator().manual_seed(rows * 10_000 + side)
        cells = side // 8
        latents = torch.randn(rows, 4, cells, cells, generator=g)
        texts = torch.randn(rows, 77, self.cross, generator=g)
        times = torch.full((rows,), 500.0)
        where, kind = self.device, self.dtype
        return latents.to(where, kind), times.to(where, kind), texts.to(where, kind)

    def forward(self, rows: int, side: int) -> Callable[[], Any]:
        """One pass with these inputs, ready to be called."""
        unet = self.unet()
        latents, times, texts = self.inputs(rows, side)

        def run() -> Any:
            with torch.inference_mode():
                return unet(latents, times, encoder_hidden_states=texts, return_dict=False)[0]

        return run

    def seconds(self, call: Callable[[], Any]) -> float:
        """Median seconds of a call, by CUDA events (the clock on a CPU)."""
        call()
        found: list[float] = []
        for _ in range(self.rounds):
            if self.device == "cuda":
                event: Any = torch.cuda.Event
                start, end = event(enable_timing=True), event(enable_timing=True)
                start.record()
                call()
                end.record()
                torch.cuda.synchronize()
                found.append(start.elapsed_time(end) / 1000)
            else:
                began = time.perf_counter()
                call()
                found.append(time.perf_counter() - began)
        return median(found)

    # ---- 1. determinism ------------------------------------------------------------------

    def batch_identity(self) -> list[Measure]:
        """The first row alone, in 2, 4, 8, and at every position of a fixed bucket."""
        side = 64 if self.tiny else 512
        unet = self.unet()
        latents, times, texts = self.inputs(8, side)

        def rows(order: list[int]) -> Any:
            with torch.inference_mode():
                return unet(
                    latents[order], times[order], encoder_hidden_states=texts[order],
                    return_dict=False,
                )[0]  # fmt: skip

        alone = rows([0])[0]
        found = []
        for count in (2, 4, 8):
            got = rows(list(range(count)))[0]
            equal = bool(torch.equal(alone, got))
            worst = float((alone.float() - got.float()).abs().max())
            found.append(
                Measure("gpu", f"row alone and in {count}: largest difference", worst, "",
                        identity="bit-identical" if equal else "differs: replay by the bucket")
            )  # fmt: skip
        fixed = rows(list(range(8)))[0]
        places = [
            bool(torch.equal(fixed, rows([*range(1, at + 1), 0, *range(at + 1, 8)])[at]))
            for at in range(1, 8)
        ]
        found.append(
            Measure("gpu", "fixed bucket of 8: positions with the same bits", 100 * sum(places) / 7,
                    "%", ">= 100", rounds=7, identity="what the replay grade rests on")
        )  # fmt: skip
        return found

    # ---- 2. the curve --------------------------------------------------------------------

    def curve(self) -> list[Measure]:
        """Throughput gained by a batch, per size: where caps come from."""
        found = []
        for side in (64, 128) if self.tiny else (256, 512, 768, 1024):
            alone = self.seconds(self.forward(1, side))
            for rows in (2, 4, 8):
                gain = rows * alone / self.seconds(self.forward(rows, side))
                found.append(
                    Measure("gpu", f"{side} pixels: throughput of {rows} together", gain, "x",
                            rounds=self.rounds, identity=f"alone {alone * 1000:.1f} ms a step")
                )  # fmt: skip
        return found

    # ---- 3. compile and chat beside --------------------------------------------------------

    def compiled(self) -> list[Measure]:
        """Regional compilation: what it takes once, and what a step gains."""
        side = 64 if self.tiny else 1024
        plain = self.seconds(self.forward(1, side))
        unet = self.unet()
        began = time.perf_counter()
        unet.compile_repeated_blocks(fullgraph=True)
        self.forward(1, side)()
        if self.device == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - began
        fast = self.seconds(self.forward(1, side))
        self.free()
        return [
            Measure("gpu", "compiling the repeated blocks, once, in the background", took, "s"),
            Measure("gpu", "step compiled / plain", fast / plain, "x", rounds=self.rounds),
        ]

    def _talker(self) -> Any:
        from transformers import LlamaConfig, LlamaForCausalLM

        kind: Any = LlamaForCausalLM
        big: dict[str, Any] = {
               "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
               "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151_936,
               "head_dim": 128}  # fmt: skip
        small: dict[str, Any] = {
                 "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}  # fmt: skip
        with torch.device(self.device):
            return kind(LlamaConfig(**(small if self.tiny else big))).eval().to(self.dtype)

    def interference(self) -> list[Measure]:
        """A token and a picture step taking turns, against each by itself."""
        talker = self._talker()
        ids = torch.ones(8, 1, dtype=torch.long, device=self.device)

        def token() -> Any:
            with torch.inference_mode():
                return talker(input_ids=ids, use_cache=False).logits

        step = self.forward(1, 64 if self.tiny else 512)
        alone = self.seconds(token) + self.seconds(step)

        def both() -> None:
            token()
            step()

        return [
            Measure("gpu", "a token and a step in turns / each by itself",
                    self.seconds(both) / alone, "x", "<= 1.05", rounds=self.rounds)
        ]  # fmt: skip

    # ---- 4. one set of weights -------------------------------------------------------------

    def shared_weights(self) -> list[Measure]:
        """A second module on the same tensors: no bytes, the same hidden states (5.3)."""
        first = self._talker()
        kind: Any = type(first)
        before = torch.cuda.memory_allocated() if self.device == "cuda" else 0
        with torch.device("meta"):
            second = kind(copy.deepcopy(first.config))
        second.load_state_dict(first.state_dict(), assign=True)
        second.eval()
        for name, buffer in first.named_buffers():
            owner, _, leaf = name.rpartition(".")
            second.get_submodule(owner)._buffers[leaf] = buffer
        after = torch.cuda.memory_allocated() if self.device == "cuda" else 0
        ids = torch.arange(1, 33, device=self.device)[None]
        with torch.inference_mode():
            equal = torch.equal(first(input_ids=ids).logits, second(input_ids=ids).logits)
        return [
            Measure("gpu", "shared weights: further bytes", (after - before) / 1e6, "MB", "<= 1",
                    identity="outputs equal" if equal else "OUTPUTS DIFFER")
        ]  # fmt: skip

    # ---- 5. swap ---------------------------------------------------------------------------

    def swap(self) -> list[Measure]:
        """Copying weights onto the device: pageable and pinned, in gigabytes a second."""
        size = 8_000_000 if self.tiny else 4_000_000_000
        found = []
        for name, pinned in (("pageable", False), ("pinned", True)):
            if pinned and self.device != "cuda":
                continue
            block = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
            block.fill_(1)
            took = self.seconds(lambda block=block: block.to(self.device, copy=True))  # type: ignore[misc]
            found.append(Measure("gpu", f"{name} copy to the device", size / took / 1e9, "GB/s"))
        return found
