"""Whose weights are where: on this machine's disk, and at which worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storage.registry import ModelCard, Registry


def is_present(card: ModelCard, models_dir: Path) -> bool:
    """Whether a model's files are on this machine (a starter's are put there at first start)."""
    if card.source == "remote":
        return True
    if card.source == "hub":
        for kind in ("unet", "gguf"):
            repo = getattr(card, kind).partition("@")[0]
            if repo and not _lies(models_dir, f"{card.name}-{kind}", repo):
                return False
    return _lies(models_dir, card.shares or card.name, card.repo if card.source == "hub" else "")


def _lies(models_dir: Path, name: str, repo: str) -> bool:
    """Whether files were put into a folder of that name, or fetched from a repository before."""
    folder = models_dir / name
    if folder.is_dir() and any(folder.iterdir()):
        return True
    return bool(repo) and (models_dir / "hub" / f"models--{repo.replace('/', '--')}").is_dir()


def servable(registry: Registry, models_dir: Path) -> frozenset[str]:
    """Names of the models that a worker with this folder can run.

    Starters are put in place when needed, and what is configured may be fetched at the start. Any
    other's files must lie here already: no member waits for a download of gigabytes.
    """
    usual = {registry.image_default, registry.chat_default, registry.vision_default}
    return frozenset(
        name
        for name, card in registry.cards.items()
        if card.source == "starter" or name in usual or is_present(card, models_dir)
    )


def left_to_others(served: Mapping[str, frozenset[str]] | None, worker: str) -> frozenset[str]:
    """Models that other workers can run and ``worker`` cannot: it does not claim their jobs.

    What nobody can run is left to nobody: whoever claims it ends it with a clear error.
    """
    if not served or worker not in served:
        return frozenset()
    others = frozenset().union(*(models for name, models in served.items() if name != worker))
    return others - served[worker]
