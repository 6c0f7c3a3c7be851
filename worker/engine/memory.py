"""Memory of the device: how much there is, how to give it back, and what running out looks like."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_SHORT = ("can't allocate memory", "out of memory", "not enough memory")


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, on the device or in RAM.

    By name, so that asking imports no torch: ``torch.OutOfMemoryError`` (its subclasses too),
    ``MemoryError``, and the plain ``RuntimeError`` of torch's CPU allocator.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
            return True
        if isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SHORT):
            return True
        error = error.__cause__
    return False


def give_back() -> None:
    """Frees what hangs in cycles and in torch's cache."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_budget(device: str) -> int:
    """Bytes for loaded weights: 85 % of what is free on the GPU now, or half of the RAM we may use.

    The rest is for activations; how much they really take is learned (:meth:`Residency.learn`).
    """
    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0] * 0.85)
    return _ram() // 2


def spare_ram(device: str) -> int:
    """Bytes of RAM for parked models: half of it beside a GPU, none where RAM is the device."""
    return _ram() // 2 if device == "cuda" else 0


def _ram() -> int:
    """Bytes of RAM this process may use: the machine's, or its container's if less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(_CGROUP.read_text()))
    except (OSError, ValueError):
        return total
