"""A small autoencoder between pictures and latents: one latent cell per 16 x 16 px patch.

The encoder is a principal component projection (no training); the decoder is
its inverse plus a small network that sharpens each patch from its 3 x 3
neighbourhood. Matrix products only, any grid size, deterministic. It has the
parts of `AutoencoderKL` that `StableDiffusionPipeline` uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

PATCH = 16
"""Edge of a patch in pixels: the spatial factor between picture and latent grid."""


class PatchDistribution:
    """A latent distribution with no spread, in the shape diffusers expects."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The mean: encoding is deterministic, `generator` is not used."""
        return self.mean

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean


@dataclass
class EncoderOutput:
    """What `encode` returns."""

    latent_dist: PatchDistribution


@dataclass
class DecoderOutput:
    """What `decode` returns: pictures (n, 3, 16 h, 16 w), about -1 to 1."""

    sample: Tensor

    def __getitem__(self, index: int) -> Tensor:
        return (self.sample,)[index]


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures (n, 3, 16 h, 16 w) in -1 to 1, latents (n, c, h, w) of about unit variance.

    `block_out_channels` has five entries only so that pipelines compute the
    spatial factor 2 ** 4 = 16 from it. `hidden` is the width of the sharpening
    network; 0 leaves it out and decodes linearly.
    """

    preview_by_decoding = True
    """Decoding takes 2 ms, so previews are decoded instead of fitted."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 48,
        hidden: int = 0,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),
        sample_size: int = 128,
        in_channels: int = 3,
        out_channels: int = 3,
        force_upcast: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        width = 3 * PATCH * PATCH
        self.mean = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.basis = nn.Parameter(torch.zeros(latent_channels, width), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(latent_channels), requires_grad=False)
        self.sharpen: nn.Module | None = None
        if hidden:
            self.sharpen = nn.Sequential(
                nn.Linear(9 * latent_channels, hidden),
                nn.SiLU(),
                nn.Linear(hidden, hidden),
                nn.SiLU(),
                nn.Linear(hidden, width),
            )

    def encode(self, x: Tensor, return_dict: bool = True) -> EncoderOutput:
        """Latents of pictures whose sides are multiples of 16."""
        patches = F.pixel_unshuffle(x, PATCH).movedim(1, -1)
        latents = ((patches - self.mean) @ self.basis.T / self.scale).movedim(-1, 1)
        return EncoderOutput(PatchDistribution(latents))

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Pictures of latents; a one-tuple when `return_dict` is false."""
        patches = (z.movedim(1, -1) * self.scale) @ self.basis + self.mean
        if self.sharpen is not None:
            patches = patches + self.sharpen(neighbourhoods(z))
        pictures = F.pixel_shuffle(patches.movedim(-1, 1), PATCH)
        return DecoderOutput(pictures) if return_dict else (pictures,)

    def forward(self, x: Tensor) -> DecoderOutput | tuple[Tensor]:
        """Encode and decode."""
        return self.decode(self.encode(x).latent_dist.mode())

    @torch.no_grad()
    def fit(self, pictures: Tensor, power: float = 0.6) -> float:
        """Set the projection from pictures (n, 3, s, s); returns the energy kept (0 to 1).

        Channels are divided by their standard deviation to the `power`, so
        that the strong ones stay stronger, then all by one number so that the
        mean variance is 1.
        """
        patches = F.pixel_unshuffle(pictures, PATCH).movedim(1, -1).flatten(0, 2)
        mean = patches.mean(0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        values, vectors = torch.linalg.eigh(covariance)
        count = len(self.scale)
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        deviation = values.clamp_min(1e-8).sqrt()
        scale = deviation**power
        scale = scale * ((deviation / scale) ** 2).mean().sqrt()
        self.mean.copy_(mean)
        self.basis.copy_(vectors.T)
        self.scale.copy_(scale)
        return float(values.sum() / covariance.diagonal().sum())


def neighbourhoods(z: Tensor) -> Tensor:
    """Each cell's 3 x 3 neighbourhood: (n, c, h, w) to (n, h, w, 9 c); edges repeat."""
    n, c, h, w = z.shape
    padded = F.pad(z, (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3).view(n, c * 9, h, w).movedim(1, -1)
