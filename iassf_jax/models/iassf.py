"""The network of the paper: one stage from a hazy visible and an infrared image to a dehazed and a fused image."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.errors import UserError
from iassf_jax.models import brightening
from iassf_jax.models.borders import pad_to_multiple
from iassf_jax.models.full_size import Maps, full_size
from iassf_jax.models.fusion import MsPEFM
from iassf_jax.models.guided_filter import local_linear, without_noise
from iassf_jax.models.haze_density import HazeScale, feature_planes, haze_scale, scaled_haze_density
from iassf_jax.models.heads import RECONSTRUCTIONS, DirectHead, PhysicalHead, SoftHead
from iassf_jax.models.layers import DTYPES, ImageConv, check_pair, luma
from iassf_jax.models.prompts import PEB, PGM, num_heads
from iassf_jax.models.resampling import pixel_unshuffle, resample, working_shape
from iassf_jax.models.restoration import IAFRM
from iassf_jax.models.restormer import NORMS, RestormerBlock
from iassf_jax.models.scattering import BOUND, dehaze, first_haze
from iassf_jax.models.whole_image import Region, estimate_haze


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
    `reconstruction` is how features become images, see `heads`; "direct" is the paper's. With "physical" (ours) the
    network sees whole images whose longest side is `working_size` pixels, in groups of `patch` x `patch`, and no more
    haze is taken off than a transmission of `bound` has. Eq. 5 then mixes by the haze density of the image (the dark
    channel's), with `hde_of_features` by that of the features (Eq. 3-4).
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
    working_size: int = 0
    patch: int = 1
    bound: float = BOUND
    hde_of_features: bool = False
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
        for problem in _problems(self):
            raise UserError(problem)

    @property
    def size_multiple(self) -> int:
        """Height and width at which the network runs are multiples of this."""
        return self.patch * 2 ** max(len(self.restoration_blocks) // 2, self.fusion_blocks // 2)

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
            haze_density: float[B, H, W], used instead of the estimated one; not with reconstruction "physical".
            region: where the images lie in larger ones, if they are tiles; H and W are multiples of `size_multiple`.

        Returns:
            Every stage by name, in float32: `dehazed`, `fused` float[B, H, W, 3] in about [-1, 1]; `haze_density`
            float[B, H, W] in [0, 1] (absent without_ir and without_hde); features `vi_feature`, `ir_feature`,
            `ir_embedded`, `restored` float[B, H, W, C]; selection weights `prompt_weights_ir`,
            `prompt_weights_vi` float[B, N]. With reconstruction "physical" also `transmission` [B, H, W] and
            `airlight` [B, H, W, 3] in 0..1, the density is 1 - t, and features are those at working size.

        Raises:
            ValueError: shapes that do not belong together.
        """
        check_pair(visible, infrared)
        height, width = visible.shape[1:3]
        if self.reconstruction == "physical":
            return self.through_working_size(visible, infrared)
        pair = visible, jnp.broadcast_to(infrared, visible.shape), haze_density
        padded = (None if x is None else _padded(x, self.size_multiple) for x in pair)
        out = self._network(*padded, region)
        return {name: x if x.ndim == 2 else x[:, :height, :width] for name, x in out.items()}

    def through_working_size(
        self, visible: jax.Array, infrared: jax.Array, protected: bool = False
    ) -> dict[str, jax.Array]:
        """`__call__` with reconstruction "physical"; `protected`: see `full_size.full_size`."""
        infrared = infrared if infrared.shape[-1] == 1 else luma(infrared)
        out = self.at_working_size(visible, infrared)
        images = [x.astype(jnp.float32) * 0.5 + 0.5 for x in (visible, infrared[..., 0])]
        out |= full_size(out.pop("maps"), *images, self.bound, protected=protected)
        out |= {name: 2 * out[name] - 1 for name in ("dehazed", "fused")}
        return out | {"haze_density": 1 - out["transmission"]}

    def at_working_size(self, visible: jax.Array, infrared: jax.Array) -> dict[str, Any]:
        """All of reconstruction "physical" that is done at working size.

        Args:
            visible: float[B, H, W, 3] in [-1, 1], of any size.
            infrared: float[B, H, W, 1] in [-1, 1].

        Returns:
            The features by name, and `maps`, see `full_size.Maps`.
        """
        size = working_shape(*visible.shape[1:3], self.working_size, self.size_multiple)
        small, heat = (resample(x.astype(jnp.float32), size) for x in (visible, infrared))
        return self._network(small, jnp.broadcast_to(heat, small.shape), None, None)

    @nn.compact
    def _network(
        self, visible: jax.Array, infrared: jax.Array, haze_density: jax.Array | None, region: Region | None
    ) -> dict[str, Any]:
        """Fig. 2, of images float[B, H, W, 3] of good sizes."""
        dtype = DTYPES[self.dtype]
        shared = {"heads_per_channels": self.heads_per_channels, "norm": self.norm, "dtype": dtype}
        encoder = Encoder(self.channels, self.encoder_blocks, self.patch, **shared, name="encoder")
        f_vi, f_ir = jnp.split(encoder(jnp.concatenate([visible, infrared])), 2)
        out: dict[str, Any] = {"vi_feature": f_vi, "ir_feature": f_ir}

        first = density = hints = None
        if self.reconstruction == "physical":
            first = first_haze(visible.astype(jnp.float32) * 0.5 + 0.5)
            density, hints = (None, None) if self.without_hde else _as_features(first, self.patch)
            if self.hde_of_features:
                density = estimate_haze(self, f_vi)
        elif not (self.without_hde or self.without_ir):
            density = out["haze_density"] = estimate_haze(self, f_vi) if haze_density is None else haze_density
        if not self.without_ir:
            out["ir_embedded"] = self._embed_infrared(f_vi, f_ir, shared, out, region)
        restore = IAFRM(self.restoration_blocks, **shared, name="ia_frm")
        out["restored"] = restore(f_vi, out.get("ir_embedded"), density, hints)

        prompt = None
        if not self.without_p_vi:
            pgm = PGM(self.fusion_channels, self.num_prompts, self.prompt_size, dtype, name="pgm_vi")
            prompt, out["prompt_weights_vi"] = pgm(out["restored"], f_ir, region)
        fuse = MsPEFM(self.fusion_channels, self.fusion_blocks, embed=not self.without_fb_peb, **shared, name="mspe_fm")
        fused = fuse(out["restored"], f_ir, prompt)

        images = visible.astype(jnp.float32), infrared.astype(jnp.float32)
        if self.reconstruction == "direct":
            out |= DirectHead(dtype, name="heads")(out["restored"], fused)
        elif self.reconstruction == "soft":
            out |= SoftHead(dtype, name="heads")(out["restored"], fused, *images)
        else:
            small = resample(images[0] * 0.5 + 0.5, fused.shape[1:3])
            drawn = PhysicalHead(self.patch, dtype, name="heads")(out["restored"], fused, *first, small)
            maps = _maps(drawn, small, *images, self.bound)
        out = {name: x.astype(jnp.float32) for name, x in out.items()}
        return out | ({"maps": maps} if self.reconstruction == "physical" else {})

    def _embed_infrared(
        self, f_vi: jax.Array, f_ir: jax.Array, shared: dict, out: dict, region: Region | None
    ) -> jax.Array:
        """F^_ir: the infrared features with their prompt embedded, the candidates of Eq. 5."""
        prompt = None
        if not self.without_p_ir:
            pgm = PGM(self.channels, self.num_prompts, self.prompt_size, shared["dtype"], name="pgm_ir")
            prompt, out["prompt_weights_ir"] = pgm(f_vi, f_ir, region)
        if not self.without_fr_peb:
            return PEB(**shared, name="peb_ir")(f_ir, prompt)
        return f_ir if prompt is None else f_ir + prompt

    # What tiles of a large image need of the haze estimator, see `whole_image`.

    def haze_planes(self, vi_feature: jax.Array) -> tuple[jax.Array, ...]:
        """All that the haze estimator reads of the features [B, H, W, C]: maps float32[B, H, W]."""
        return feature_planes(vi_feature)

    def haze_scale(self, planes: tuple[jax.Array, ...]) -> HazeScale:
        """What the haze estimator takes from the whole image."""
        return haze_scale(*planes)

    def scaled_haze_density(self, planes: tuple[jax.Array, ...], scale: HazeScale) -> jax.Array:
        """The haze density float32[B, H, W] of maps that have the scale of the whole image."""
        return scaled_haze_density(planes[0], scale)


def _problems(model: IASSF) -> list[str]:
    """What is wrong with a network's settings, and what to use."""
    found = []
    for name in ("channels", "num_prompts", "prompt_size", "encoder_blocks", "fusion_channels", "heads_per_channels"):
        if getattr(model, name) < 1:
            found.append(f"model.{name} is {getattr(model, name)}: use 1 or more")
    if model.fusion_blocks < 1 or model.fusion_blocks % 2 == 0:
        found.append(f"model.fusion_blocks is {model.fusion_blocks}: use an odd number (a U has one bottom)")
    if len(model.restoration_blocks) % 2 == 0 or min(model.restoration_blocks) < 0:
        found.append(f"model.restoration_blocks is {model.restoration_blocks}: give an odd number of counts")
    for name, choices in (("norm", NORMS), ("reconstruction", RECONSTRUCTIONS), ("dtype", tuple(DTYPES))):
        if getattr(model, name) not in choices:
            found.append(f"model.{name} is {getattr(model, name)!r}: use one of {', '.join(choices)}")
    if model.hde_of_features and (model.reconstruction != "physical" or model.without_hde):
        found.append("model.hde_of_features goes with reconstruction 'physical' and with the HDE: use False")
    if found or model.reconstruction != "physical":
        if not found and (model.working_size, model.patch) != (0, 1):
            found.append("model.working_size and model.patch go with reconstruction 'physical': use 0 and 1")
        return found
    if model.patch < 1 or model.working_size < model.size_multiple:
        least = f"use {model.size_multiple} and 1 or more"
        found.append(f"model.working_size is {model.working_size}, model.patch is {model.patch}: {least}")
    if not 0 < model.bound <= 1:
        found.append(f"model.bound is {model.bound}: use a transmission above 0 and up to 1")
    return found


def _padded(x: jax.Array, multiple: int) -> jax.Array:
    """Images [B, H, W, C], or a map [B, H, W], mirrored at the right and the bottom."""
    return pad_to_multiple(x, multiple) if x.ndim == 4 else pad_to_multiple(x[..., None], multiple)[..., 0]


def _as_features(first: tuple[jax.Array, jax.Array], patch: int) -> tuple[jax.Array, jax.Array]:
    """Of a first t [B, h, w] and A [B, 3]: the haze density 1 - t at the features' size, and all of both as hints."""
    t = pixel_unshuffle(first[0][..., None], patch)
    light = jnp.broadcast_to(first[1].reshape(-1, 1, 1, 3), (*t.shape[:3], 3))
    return 1 - t.mean(axis=-1), jnp.concatenate([jnp.log(t), light], axis=-1)


def _maps(
    drawn: tuple[jax.Array, jax.Array, jax.Array],
    small: jax.Array,
    visible: jax.Array,
    infrared: jax.Array,
    bound: float,
) -> Maps:
    """What is drawn of images [B, h, w, 3] in [-1, 1], made ready for images of full size; `small` as for the head."""
    t, airlight, gains = drawn
    visible, heat = visible * 0.5 + 0.5, infrared[..., 0] * 0.5 + 0.5
    luma = brightening.luma(visible)
    small_t, small_heat = (resample(x[..., None], gains.shape[1:3])[..., 0] for x in (t, heat))
    share = brightening.kept_highlights(dehaze(small, small_t, airlight, bound), small_heat)
    gains = jnp.stack([(1 + gains[..., 0]) * share - 1, gains[..., 1]], axis=-1)
    return Maps(
        local_linear((luma, heat), t),
        airlight,
        gains,
        without_noise(luma, visible),
        brightening.without_details(heat),
        heat.mean(axis=(1, 2), keepdims=True),
    )
