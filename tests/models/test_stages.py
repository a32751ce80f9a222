"""The stages of Fig. 2, each computed by hand from its parameters: Eq. 5, PEB, and MsPE-FM's prompts and skips."""

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.models.fusion import FusionBlock, MsPEFM
from iassf_jax.models.layers import resize_bilinear
from iassf_jax.models.prompts import PEB
from iassf_jax.models.restoration import IAFRM, TF, mix_candidates
from iassf_jax.models.restormer import RestormerBlock


def maps(*shape, count=1, seed=0):
    rng = np.random.default_rng(seed)
    found = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for _ in range(count)]
    return found if count > 1 else found[0]


def conv1x1(x, p):
    return x @ p["kernel"] + p["bias"].reshape(1, 1, 1, -1)


def block(x, p, heads=1):
    return RestormerBlock(heads).apply({"params": p}, x)


def test_eq_5_by_hand():
    visible, candidate = jnp.full((1, 1, 3, 2), 4.0), jnp.full((1, 1, 3, 2), 10.0)
    density = jnp.array([[[0.0, 0.25, 1.0]]])
    # F_ir H + F_vi (1 - H) + F_vi: clear air keeps the visible features alone, dense haze takes the infrared ones.
    np.testing.assert_allclose(mix_candidates(visible, candidate, density)[0, 0, :, 0], [8.0, 9.5, 14.0])
    np.testing.assert_allclose(mix_candidates(visible, candidate, None), 11.0)


def test_ia_frm_is_tf_of_the_mix_and_of_hints():
    visible, candidate = maps(1, 4, 4, 4, count=2)
    density, hints = jnp.full((1, 4, 4), 0.3), maps(1, 4, 4, 3, seed=1)
    module = IAFRM(blocks=(1, 1, 1), heads_per_channels=4)
    variables = module.init(jax.random.key(0), visible, candidate, density, hints)
    p = variables["params"]
    x = mix_candidates(visible, candidate, density) + conv1x1(hints, p["embed_haze"])
    expected = TF((1, 1, 1), 4).apply({"params": p["tf"]}, x)
    np.testing.assert_allclose(module.apply(variables, visible, candidate, density, hints), expected, atol=1e-5)


def test_peb_joins_the_prompt_and_comes_back_to_the_width():
    features, prompt = maps(1, 4, 6, 4, count=2)
    variables = PEB(heads_per_channels=8).init(jax.random.key(0), features, prompt)
    p = variables["params"]
    x = block(jnp.concatenate([features, prompt], axis=-1), p["block"])
    x = conv1x1(x, p["conv1x1"])
    dimensions = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, p["conv3x3"]["kernel"], (1, 1), "SAME", dimension_numbers=dimensions)
    expected = x + p["conv3x3"]["bias"].reshape(1, 1, 1, -1)
    np.testing.assert_allclose(PEB(heads_per_channels=8).apply(variables, features, prompt), expected, atol=1e-5)


def test_a_fusion_block_adds_what_peb_gives():
    x, prompt = maps(1, 4, 4, 4, count=2)
    module = FusionBlock(heads_per_channels=8)
    variables = module.init(jax.random.key(0), x, prompt)
    p = variables["params"]
    y = block(x, p["block"])
    expected = y + PEB(8).apply({"params": p["peb"]}, y, prompt)
    np.testing.assert_allclose(module.apply(variables, x, prompt), expected, atol=1e-5)


def test_ms_pe_fm_chains_its_prompts_and_adds_its_skip():
    """M = 3, without PEB so that each block is a Restormer block and its prompt: P2 = Conv(P1), P3 = Conv(P2)."""
    visible, infrared = maps(1, 4, 4, 6, count=2)
    prompt = maps(1, 4, 4, 4, seed=2)
    module = MsPEFM(channels=4, num_blocks=3, embed=False, heads_per_channels=8)
    variables = module.init(jax.random.key(0), visible, infrared, prompt)
    p = variables["params"]
    first = conv1x1(jnp.concatenate([visible, infrared], axis=-1), p["join"])
    first = block(first, p["block1"]["block"]) + prompt
    cells = first.reshape(1, 2, 2, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, 16)
    second_prompt = conv1x1(prompt.reshape(1, 2, 2, 2, 2, 4).mean((2, 4)), p["prompt2"])
    second = block(conv1x1(cells, p["down1"]["merge"]), p["block2"]["block"]) + second_prompt
    wide = conv1x1(second, p["up2"]["split"])
    wide = wide.reshape(1, 2, 2, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 4)
    third_prompt = resize_bilinear(conv1x1(second_prompt, p["prompt3"]), (4, 4))
    expected = block(wide + first, p["block3"]["block"]) + third_prompt
    np.testing.assert_allclose(module.apply(variables, visible, infrared, prompt), expected, atol=1e-5)
