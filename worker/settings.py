"""What a worker process reads from its environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from storage.jobs import LEASE_MS
from storage.settings import StorageSettings


class WorkerSettings(StorageSettings):
    """Settings of one worker; its database, Redis and state folder are the shared ones."""

    device: str = ""
    """``cpu`` or ``cuda``; empty means a GPU when one is seen."""
    max_images: int = Field(default=4, ge=1)
    """Pictures stepped at a time."""
    max_chats: int = Field(default=4, ge=1)
    """Answers written at a time."""
    memory_mb: int = Field(default=0, ge=0)
    """Megabytes for loaded models; 0 measures the device (:mod:`worker.engine.memory`)."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether denoisers are compiled in the background; *auto*: on a GPU. On a CPU pictures are
    then of the grade *replay* instead of *exact*."""
    provider_keys: SecretStr = SecretStr("")
    """Keys of the chat and vision servers: ``name=key``, comma-separated."""
    provider_timeout_s: float = Field(default=30.0, gt=0)
    """Longest silence of a server before the next one is asked."""
    grace_s: float = Field(default=4.0, ge=0)
    """How long a graceful stop waits for running jobs before it gives them back."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Where Prometheus reads this worker's counters; 0: nowhere."""
    metrics_host: str = "127.0.0.1"
    clip_model: Path | None = None
    """Folder of a CLIP model: pictures unlike their prompt are made once more."""
    clip_floor: float = Field(default=0.18, ge=-1, le=1)
    """Likeness below which they are."""
    parent_pid: int = 0
    """When set, the worker stops once this process is no longer its parent."""
    lease_ms: int = Field(default=LEASE_MS, ge=500)
    """How long a claim lasts without renewal; renewed at three tenths of it."""
    guard_model: str = ""
    """A guard model on this machine (Qwen3Guard-Gen, say) that judges text as well; empty: none."""
    judge: bool = False
    """Whether the chat model is asked about prompts the heads are unsure of. Off: the starter
    model is too small to tell (``python -m worker.bench.judge`` measures yours)."""
    judge_timeout_s: float = Field(default=20.0, gt=0, le=120)
    """How long it may take; later holds the prompt's results for a moderator."""
    log_level: str = "INFO"

    @property
    def worker_name(self) -> str:
        """Who holds a lease, for people who read the table."""
        return f"{socket.gethostname()}:{os.getpid()}"
