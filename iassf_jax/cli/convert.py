"""iassf-jax convert."""

import argparse
import dataclasses

from iassf_jax.cli.arguments import Commands, at_least, command
from iassf_jax.errors import UserError


def add(commands: Commands) -> None:
    """Adds the command."""
    convert = command(commands, "convert", "weights from and to PyTorch (.pth), safetensors and Orbax", run)
    convert.add_argument("source", nargs="+", help="IASSF.pth or its parts, a .safetensors file, or a run's folder")
    convert.add_argument("target", help="ends in .pth or .safetensors, or is a new folder")
    convert.add_argument("--half", action="store_true", help="store float16, in a .safetensors file")
    convert.add_argument("--prompt-size", type=at_least(1), help="resize the learned prompt pools to this side")
    convert.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="what the network shall compute in (a GPU trains in bfloat16, which is slow on a CPU)",
    )
    convert.add_argument(
        "--average-with",
        metavar="WEIGHTS",
        help="take the mean of fine-tuned weights and those they began with: keeps what those know",
    )
    convert.add_argument("--share", type=float, help="of the fine-tuned weights in the mean (default: 0.5)")


def run(args: argparse.Namespace) -> None:
    """Converts."""
    from iassf_jax.weights.fit import averaged, with_prompt_size
    from iassf_jax.weights.formats import TORCH_SUFFIXES, read_weights, write_weights

    if args.share is not None and not args.average_with:
        raise UserError("--share is of a mean: give --average-with too")
    if args.dtype and args.target.endswith(TORCH_SUFFIXES):
        raise UserError("--dtype is a setting, which PyTorch's files do not have: write .safetensors or a folder")
    weights = read_weights(args.source)
    if args.average_with:
        share = 0.5 if args.share is None else args.share
        weights = averaged(weights, read_weights([args.average_with]), share)
    if args.prompt_size:
        weights = with_prompt_size(weights, args.prompt_size)
    if args.dtype:
        weights = dataclasses.replace(weights, model={**weights.model, "dtype": args.dtype})
    write_weights(weights, args.target, args.half)
    print(f"{weights.summary()} -> {args.target}")
