"""The network of the paper: one stage from a hazy visible and an infrared image to a dehazed and a fused image."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.errors import UserError
from iassf_jax.models import refinement
from iassf_jax.models.brightening import luma as rgb_luma
from iassf_jax.models.brightening import without_details
from iassf_jax.models.full_size import Maps, full_size
from iassf_jax.models.fusion import MsPEFM
from iassf_jax.models.guided_filter import local_linear, without_noise
from iassf_jax.models.haze_density import HazeScale, feature_planes, haze_scale, scaled_haze_density
from iassf_jax.models.layers import DTYPES, ImageConv, check_pair, luma, pad_to_multiple
from iassf_jax.models.prompts import PEB, PGM, num_heads
from iassf_jax.models.resampling import pixel_unshuffle, resample, working_shape
from iassf_jax.models.restoration import IAFRM
from iassf_jax.models.restormer import NORMS, RestormerBlock
from iassf_jax.models.scattering import BOUND, first_haze
from iassf_jax.models.whole_image import Region, estimate_haze

RECONSTRUCTIONS = ("direct", "soft", "physical")


class Encoder(nn.Module):
    """3x3 convolution to C channels and Restormer blocks; one set of weights for both modalities.

    With a `patch` above 1 (ours) each position of the features stands for so many pixels along each side.
    """

    channels: int
    blocks: int = 1
    patch: int = 1
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        if self.patch == 1:
            x = ImageConv(self.channels, dtype=self.dtype, name="embed")(images)
        else:
            embed = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="embed")
            x = embed(pixel_unshuffle(images, self.patch))
        heads = num_heads(self.channels, self.heads_per_channels)
        for i in range(self.blocks):
            x = RestormerBlock(heads, norm=self.norm, dtype=self.dtype, name=f"block{i + 1}")(x)
        return x


class IASSF(nn.Module):
    """IASSF (Li et al., arXiv 2411.12586, Fig. 2).

    The `without_*` switches are the ablations of Table VII; `docs/paper_to_code.md` says what each removes.
    `reconstruction` "direct" is the paper's: the last convolutions give the images. With "soft" (ours) they give what
    is to change in the hazy image, and in the brighter of dehazed and infrared, see `IAFRM` and `MsPEFM`; with a
    `refine_radius` (ours, pixels) that follows the edges of these images, see `follow_edges`. With
    `global_modulation` (ours) the dehazed image also follows from what the whole image holds, see `GlobalModulation`;
    of `modulation_passes` each sees what the one before gave.

    With "physical" (ours) the network sees whole images whose longest side is `working_size` pixels, in groups of
    `patch` x `patch`, and draws the haze's transmission and air light; see `full_size`. The haze density is then that of
    the image by Eq. 3-4 before Eq. 5, and 1 - t after the correction in what is given back. No more haze is taken off
    than a transmission of `bound` has.
    """

    channels: int = 24
    num_prompts: int = 5
    prompt_size: int = 64
    encoder_blocks: int = 1
    restoration_blocks: tuple[int, ...] = (1, 1, 2, 1, 1)
    fusion_channels: int = 12
    fusion_blocks: int = 5
    heads_per_channels: int = 24
    norm: str = "with_bias"
    reconstruction: str = "direct"
    refine_radius: int = 0
    global_modulation: bool = False
    modulation_passes: int = 1
    working_size: int = 0
    patch: int = 1
    bound: float = BOUND
    without_ir: bool = False
    without_hde: bool = False
    without_p_ir: bool = False
    without_fr_peb: bool = False
    without_p_vi: bool = False
    without_fb_peb: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuses settings that make no network.

        Raises:
            UserError: says which and what to use.
        """
        super().__post_init__()
        counts = ("channels", "num_prompts", "prompt_size", "encoder_blocks", "fusion_channels", "heads_per_channels")
        for name in (*counts, "modulation_passes"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}: use 1 or more")
        if self.fusion_blocks < 1 or self.fusion_blocks % 2 == 0:
            raise UserError(f"model.fusion_blocks is {self.fusion_blocks}: use an odd number (a U has one bottom)")
        if len(self.restoration_blocks) % 2 == 0 or min(self.restoration_blocks) < 0:
            raise UserError(f"model.restoration_blocks is {self.restoration_blocks}: give an odd number of counts")
        if self.norm not in NORMS:
            raise UserError(f"model.norm is {self.norm!r}: use one of {', '.join(NORMS)}")
        if self.reconstruction not in RECONSTRUCTIONS:
            choices = ", ".join(RECONSTRUCTIONS)
            raise UserError(f"model.reconstruction is {self.reconstruction!r}: use one of {choices}")
        if self.refine_radius < 0 or self.refine_radius % refinement.STRIDE:
            multiple = f"0 (off) or a multiple of {refinement.STRIDE}"
            raise UserError(f"model.refine_radius is {self.refine_radius}: use {multiple}")
        if self.refine_radius and self.reconstruction != "soft":
            raise UserError('model.refine_radius is of model.reconstruction="soft": set that, or refine_radius=0')
        is_physical = self.reconstruction == "physical"
        if is_physical != (self.working_size >= self.size_multiple) or not (is_physical or self.patch == 1):
            both = f"a working_size of {self.size_multiple} or more (and a patch) goes with reconstruction 'physical'"
            raise UserError(f"model.working_size is {self.working_size}, patch {self.patch}: {both}, and with no other")
        if is_physical and (self.without_hde or self.global_modulation):
            raise UserError("model.reconstruction is 'physical': it needs the haze estimator, and no global_modulation")
        if not 0 < self.bound <= 1:
            raise UserError(f"model.bound is {self.bound}: use a transmission above 0 and up to 1")
        if self.dtype not in DTYPES:
            raise UserError(f"model.dtype is {self.dtype!r}: use one of {', '.join(DTYPES)}")

    @property
    def size_multiple(self) -> int:
        """Height and width are padded inside to a multiple of this."""
        needed = self.patch * 2 ** max(len(self.restoration_blocks) // 2, self.fusion_blocks // 2)
        return max(needed, refinement.STRIDE) if self.refine_radius else needed

    @property
    def modulations(self) -> int:
        """How many `GlobalModulation`s there are."""
        return self.modulation_passes if self.global_modulation else 0

    def __call__(
        self,
        visible: jax.Array,
        infrared: jax.Array,
        haze_density: jax.Array | None = None,
        region: Region | None = None,
    ) -> dict[str, jax.Array]:
        """Restores and fuses a batch of pairs.

        Args:
            visible: float[B, H, W, 3] in [-1, 1], hazy; any size.
            infrared: float[B, H, W, 1 or 3] in [-1, 1], aligned with the visible image.
            haze_density: float[B, H, W], used instead of the estimated one.
            region: where the images lie in larger ones, if they are tiles; H and W are multiples of `size_multiple`.

        Returns:
            Every stage by name, in float32: `dehazed`, `fused` float[B, H, W, 3] in about [-1, 1]; `haze_density`
            float[B, H, W] in [0, 1] (absent without_ir and without_hde); features `vi_feature`, `ir_feature`,
            `ir_embedded`, `restored` float[B, H, W, C]; selection weights `prompt_weights_ir`,
            `prompt_weights_vi` float[B, N]. With reconstruction "physical" also `transmission` [B, H, W] and
            `airlight` [B, H, W, 3] in 0..1, and features are those at working size.

        Raises:
            ValueError: shapes that do not belong together.
        """
        check_pair(visible, infrared)
        height, width = visible.shape[1:3]
        if self.reconstruction == "physical":
            infrared = infrared if infrared.shape[-1] == 1 else luma(infrared)
            out = self.at_working_size(visible, infrared)
            images = [x.astype(jnp.float32) * 0.5 + 0.5 for x in (visible, infrared[..., 0])]
            out |= full_size(out.pop("maps"), *images, self.bound)
            out |= {name: 2 * out[name] - 1 for name in ("dehazed", "fused")}
            return out | {"haze_density": 1 - out["transmission"]}
        infrared = jnp.broadcast_to(infrared, visible.shape)
        padded = [pad_to_multiple(x, self.size_multiple) for x in (visible, infrared)]
        out = self._stages(*padded, haze_density, region)
        return {name: x if x.ndim == 2 else x[:, :height, :width] for name, x in out.items()}

    def at_working_size(self, visible: jax.Array, infrared: jax.Array) -> dict[str, Any]:
        """All that is done at working size, of images float[B, H, W, 3] and [B, H, W, 1] of any size.

        Returns:
            The features by name, and `maps`, `full_size.Maps`.
        """
        size = working_shape(*visible.shape[1:3], self.working_size, self.size_multiple)
        small, heat = (resample(x.astype(jnp.float32), size) for x in (visible, infrared))
        return self._stages(small, jnp.broadcast_to(heat, small.shape), None, None)

    @nn.compact
    def _stages(
        self, visible: jax.Array, infrared: jax.Array, haze_density: jax.Array | None, region: Region | None
    ) -> dict[str, Any]:
        dtype = DTYPES[self.dtype]
        images = jnp.concatenate([visible, infrared])
        shared = {"heads_per_channels": self.heads_per_channels, "norm": self.norm, "dtype": dtype}
        encoder = Encoder(self.channels, self.encoder_blocks, self.patch, **shared, name="encoder")
        f_vi, f_ir = jnp.split(encoder(images), 2)
        out: dict[str, Any] = {"vi_feature": f_vi, "ir_feature": f_ir}

        density, first = None, None
        if self.reconstruction == "physical":
            first = first_haze(visible * 0.5 + 0.5)
            density = resample(1 - first[0][..., None], f_vi.shape[1:3])[..., 0]
        elif not (self.without_hde or self.without_ir):
            density = out["haze_density"] = estimate_haze(self, f_vi) if haze_density is None else haze_density
        candidate = None if self.without_ir else self._embed_infrared(f_vi, f_ir, shared, out, region)
        hazy, heat = jnp.split(images.astype(jnp.float32), 2)
        restore = IAFRM(
            self.restoration_blocks,
            self.reconstruction,
            self.refine_radius,
            self.modulations,
            self.patch,
            **shared,
            name="ia_frm",
        )
        out["restored"], dehazed = restore(hazy, f_vi, candidate, density, region, first)

        prompt = None
        if not self.without_p_vi:
            pgm = PGM(self.fusion_channels, self.num_prompts, self.prompt_size, dtype, name="pgm_vi")
            prompt, out["prompt_weights_vi"] = pgm(out["restored"], f_ir, region)
        fuse = MsPEFM(
            self.fusion_channels,
            self.fusion_blocks,
            not self.without_fb_peb,
            self.reconstruction,
            self.refine_radius,
            **shared,
            name="mspe_fm",
        )
        fused = fuse((dehazed, heat), out["restored"], f_ir, prompt)
        if self.reconstruction == "physical":
            out = {name: x.astype(jnp.float32) for name, x in out.items()}
            t, airlight = dehazed
            guides = rgb_luma(visible * 0.5 + 0.5), infrared[..., 0] * 0.5 + 0.5
            linear = local_linear(guides, t)
            smooth, mean = without_details(guides[1]), guides[1].mean(axis=(1, 2), keepdims=True)
            base = without_noise(guides[0], visible * 0.5 + 0.5)
            out["maps"] = Maps(linear, airlight, fused.astype(jnp.float32), base, smooth, mean)
            return out
        out |= {"dehazed": dehazed, "fused": fused}
        return {name: x.astype(jnp.float32) for name, x in out.items()}

    def haze_planes(self, vi_feature: jax.Array) -> tuple[jax.Array, ...]:
        """All that the haze estimator reads of the features [B, H, W, C]: maps float32[B, H, W]."""
        return feature_planes(vi_feature)

    def haze_scale(self, planes: tuple[jax.Array, ...]) -> HazeScale:
        """What the haze estimator takes from the whole image."""
        return haze_scale(*planes)

    def scaled_haze_density(self, planes: tuple[jax.Array, ...], scale: HazeScale) -> jax.Array:
        """The haze density float32[B, H, W] of maps that have the scale of the whole image."""
        return scaled_haze_density(planes[0], scale)

    def _embed_infrared(
        self, f_vi: jax.Array, f_ir: jax.Array, shared: dict, out: dict, region: Region | None
    ) -> jax.Array:
        """F^_ir: the infrared features with their prompt embedded, the candidates of Eq. 5."""
        prompt = None
        if not self.without_p_ir:
            pgm = PGM(self.channels, self.num_prompts, self.prompt_size, shared["dtype"], name="pgm_ir")
            prompt, out["prompt_weights_ir"] = pgm(f_vi, f_ir, region)
        if not self.without_fr_peb:
            embedded = PEB(**shared, name="peb_ir")(f_ir, prompt)
        else:
            embedded = f_ir if prompt is None else f_ir + prompt
        out["ir_embedded"] = embedded
        return embedded
