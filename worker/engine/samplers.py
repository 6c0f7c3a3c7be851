"""Our names for sampling methods and the diffusers class each stands for. Pure: strings only."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.errors import BadInput


@dataclass(frozen=True, slots=True)
class Sampler:
    """A diffusers scheduler class by name, with settings that override the checkpoint's own.

    An empty name means the class that the checkpoint names itself.
    """

    cls: str
    settings: dict[str, object] = field(default_factory=dict)


SAMPLERS: dict[str, Sampler] = {
    "own": Sampler(""),
    "ddim": Sampler("DDIMScheduler"),
    "euler": Sampler("EulerDiscreteScheduler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler"),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_karras": Sampler(
        "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}
    ),
    "lcm": Sampler("LCMScheduler"),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "flow": Sampler("FlowMatchEulerDiscreteScheduler"),
}
"""Names a spec may use; a family takes those that fit its kind of prediction. All are first-order
in model calls: one forward pass a step."""


def sampler(name: str) -> Sampler:
    """The sampler called ``name``. Raises ``BadInput('scheduler_unknown')`` when there is none."""
    found = SAMPLERS.get(name)
    if found is None:
        known = ", ".join(sorted(SAMPLERS))
        raise BadInput("scheduler_unknown", scheduler=name[:80], known=known)
    return found
