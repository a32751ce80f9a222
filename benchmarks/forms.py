"""Each fast form beside the plain one that it replaces, by turns in one process: python -m benchmarks.forms

On the device at hand; maps of 640x480 as they occur in the networks. Prints a Markdown table of ratios.
"""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.speed.cases import OURS, Case
from benchmarks.speed.jax_contenders import inference
from iassf_jax.models import layers, restormer
from iassf_jax.models.borders import pad_images
from iassf_jax.models.fast import bands, convolutions
from iassf_jax.models.fast.devices import has_kernels
from iassf_jax.models.fast.plain import plain_operations, portable_operations
from iassf_jax.models.release.dehazeformer import window_attention
from iassf_jax.models.restormer import GDFN, RestormerBlock, channel_products
from iassf_jax.runtime import compiler_options

Form = Callable[..., Any]
HEIGHT, WIDTH = 480, 640


def seconds(forms: dict[str, Form], args: tuple, rounds: int = 5) -> dict[str, float]:
    """Median seconds of each compiled form, by turns."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            jax.block_until_ready(form(*args))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def compiled(function: Form, *args: Any, context: Any = None) -> Form:
    """Traced within a context, which `jax.jit` does not know of."""
    with context or contextlib.nullcontext():
        return jax.jit(lambda *x: function(*x)).lower(*args).compile()


def image(channels: int, height: int = HEIGHT, width: int = WIDTH, batch: int = 1) -> jax.Array:
    """A map of noise."""
    return jax.random.normal(jax.random.key(channels), (batch, height, width, channels))


def whole() -> Any:
    """A context without bands and strips."""
    return mock.patch.object(bands, "PIXELS", 2**40)


def block(channels: int) -> tuple[dict[str, Form], tuple]:
    """A Restormer block's forward pass."""
    module, x = RestormerBlock(channels // 24), image(channels)
    variables = jax.jit(module.init)(jax.random.key(0), x[:, :16, :16])
    form = functools.partial(compiled, module.apply, variables, x)
    return {"whole": form(context=whole()), "in bands": form()}, (variables, x)


def hidden(channels: int) -> tuple[dict[str, Form], tuple]:
    """A Restormer block's forward pass, its hidden channels as many as Restormer has, or filled to a multiple of 16."""
    module, x = RestormerBlock(channels // 24), image(channels)
    variables = jax.jit(module.init)(jax.random.key(0), x[:, :16, :16])
    form = functools.partial(compiled, module.apply, variables, x)
    count = int(2.66 * channels)
    exactly = form(context=mock.patch.object(restormer, "ALIGNMENT", 1))
    return {str(count): exactly, str(count + -count % restormer.ALIGNMENT): form()}, (variables, x)


def block_gradient(channels: int, side: int) -> tuple[dict[str, Form], tuple]:
    """A Restormer block's forward and backward pass, batch 6."""
    module, x = RestormerBlock(channels // 24), image(channels, side, side, 6)
    variables = jax.jit(module.init)(jax.random.key(0), x[:, :16, :16])
    gradient = jax.grad(lambda v, x: jnp.square(module.apply(v, x)).mean(), argnums=(0, 1))
    form = functools.partial(compiled, gradient, variables, x)
    return {"whole": form(context=whole()), "in bands": form()}, (variables, x)


def products() -> tuple[dict[str, Form], tuple]:
    """q k^T of 48 channels in 2 heads."""
    pair = image(48), image(48) + 1
    form = functools.partial(compiled, lambda q, k: channel_products(q, k, 2), *pair)
    return {"head by head": form(context=plain_operations()), "all channels": form()}, pair


def windows(channels: int, heads: int, shift: int) -> tuple[dict[str, Form], tuple]:
    """Attention in 8x8 windows."""
    args = (
        image(channels),
        jax.random.normal(jax.random.key(0), (heads, 64, 64)),
        image(3 * channels, 1, channels)[0, 0],
    )
    form = functools.partial(
        compiled, lambda x, bias, kernel: window_attention(x, lambda rows: rows @ kernel, bias, shift), *args
    )
    return {"whole": form(context=whole()), "in strips": form()}, args


def depthwise(channels: int) -> tuple[dict[str, Form], tuple]:
    """3x3 depthwise convolution."""
    args = image(channels), jax.random.normal(jax.random.key(0), (3, 3, 1, channels))
    plain = compiled(lambda x, k: convolutions.lax_depthwise_conv(pad_images(x, 1), k), *args)
    ours = "kernel" if has_kernels(args[0]) else "shifted"
    return {"lax": plain, ours: compiled(convolutions.depthwise_same, *args)}, args


def gate(channels: int) -> tuple[dict[str, Form], tuple]:
    """GDFN's depthwise convolution, gate and their gradients, of a GPU: made by one kernel or by several."""
    ffn = GDFN(channels / 2 / 48)
    x = image(48, 256, 256, 6)
    variables = jax.jit(ffn.init)(jax.random.key(0), x[:, :16, :16])
    gradient = jax.grad(lambda v, x: jnp.square(ffn.apply(v, x)).mean(), argnums=(0, 1))
    form = functools.partial(compiled, gradient, variables, x)
    return {"lax": form(context=portable_operations()), "kernels": form()}, (variables, x)


def depthwise_gradient() -> tuple[dict[str, Form], tuple]:
    """Gradient of a 3x3 depthwise convolution's kernel, 126 channels, batch 6 of 128x128."""
    x, g = image(126, 130, 130, 6), image(126, 128, 128, 6)
    args = x, jnp.zeros((3, 3, 1, 126)), g
    forms = {"lax": convolutions._kernel_gradient, "by rows": convolutions._kernel_gradient_by_rows}
    return {name: compiled(form, *args) for name, form in forms.items()}, args


def product_gradient() -> tuple[dict[str, Form], tuple]:
    """Gradient of a 1x1 convolution's kernel, 24 to 126 channels, batch 6 of 128x128."""
    args = image(24, 128, 128, 6), image(126, 128, 128, 6)
    forms = {"at once": convolutions._product_over_pixels, "in bands": convolutions._product_over_pixels_in_bands}
    return {name: compiled(form, *args) for name, form in forms.items()}, args


def reflected() -> tuple[dict[str, Form], tuple]:
    """5x5 depthwise convolution with mirrored borders, 24 channels."""
    args = image(24), jax.random.normal(jax.random.key(0), (5, 5, 1, 24))
    padded = {
        "jnp.pad": lambda x: jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect"),
        "edges in place": lambda x: pad_images(x, 2, "reflect"),
    }
    forms = {
        n: compiled(lambda x, k, pad=pad: convolutions.depthwise_conv(pad(x), k), *args) for n, pad in padded.items()
    }
    return forms, args


def small_convolution(features: int) -> tuple[dict[str, Form], tuple]:
    """3x3 convolution of a padded map of 24 channels."""
    x = image(24, HEIGHT + 2, WIDTH + 2)
    valid, same = nn.Conv(features, (3, 3), padding="VALID"), nn.Conv(features, (3, 3))
    variables = jax.jit(same.init)(jax.random.key(0), x)
    forms = {"without padding": valid.apply, "padded and cut": lambda v, x: same.apply(v, x)[:, 1:-1, 1:-1]}
    return {name: compiled(form, variables, x) for name, form in forms.items()}, (variables, x)


def embedding() -> tuple[dict[str, Form], tuple]:
    """3x3 convolution of two images to 24 channels."""
    x = image(3, batch=2)
    variables = jax.jit(nn.Conv(24, (3, 3)).init)(jax.random.key(0), x)
    modules = {"convolution": nn.Conv(24, (3, 3)), "product": layers.ImageConv(24)}
    return {name: compiled(module.apply, variables, x) for name, module in modules.items()}, (variables, x)


def order(name: str) -> tuple[dict[str, Form], tuple]:
    """A whole network with XLA's default order of operations and with ours."""
    function, args = inference(Case("inference", HEIGHT, WIDTH, 1), name)
    forms = {}
    for title, options in (("default order", {}), ("memory order", compiler_options())):
        program = function.lower(*args).compile(options)
        forms[f"{title}, {program.memory_analysis().temp_size_in_bytes / 2**20:.0f} MiB"] = program
    return forms, args


def comparisons() -> Iterator[tuple[str, tuple[dict[str, Form], tuple]]]:
    """Every comparison with its title, built when it is asked for."""
    for channels in (24, 48):
        yield f"Restormer block, {channels} channels", block(channels)
    for channels in (24, 48):
        yield f"its hidden channels, {channels} channels", hidden(channels)
    for channels, side in ((24, 128), (48, 128), (96, 64)):
        yield f"its gradient, {channels} channels, 6 x {side} x {side}", block_gradient(channels, side)
    yield "products between 48 channels", products()
    for channels in (144, 510):
        yield f"3x3 depthwise, {channels} channels", depthwise(channels)
    if has_kernels(image(1)):
        yield "GDFN's gradient, 252 channels inside, 6 x 256 x 256", gate(252)
    yield "its kernel's gradient, 126 channels, 6 x 128 x 128", depthwise_gradient()
    yield "1x1 kernel's gradient, 24 to 126 channels, 6 x 128 x 128", product_gradient()
    yield "image to 24 channels, batch 2", embedding()
    yield "5x5 depthwise, mirrored borders", reflected()
    for features in (3, 24):
        yield f"3x3, 24 to {features} channels", small_convolution(features)
    for shift in (0, 4):
        yield f"window attention, 24 channels, 2 heads, shift {shift}", windows(24, 2, shift)
    for name in OURS:
        yield f"network `{name}`", order(name)


def main() -> None:
    """Prints a row for each comparison."""
    print("| | plain form | fast form | times as fast |\n|---|---|---|---|")
    for title, (forms, args) in comparisons():
        (plain, before), (fast, after) = seconds(forms, args).items()
        print(f"| {title} | {plain} | {fast} | {before / after:.2f} |", flush=True)


if __name__ == "__main__":
    main()
