"""iassf-jax summary."""

import argparse

from iassf_jax.cli.arguments import Commands, command
from iassf_jax.errors import UserError
from iassf_jax.weights import shipped


def add(commands: Commands) -> None:
    """Adds the command."""
    summary = command(
        commands, "summary", "parameters and multiply-adds of a network, its parts and its ablations", run
    )
    summary.add_argument(
        "--weights",
        "--workdir",
        default=shipped.DEFAULT,
        help="shipped weights, a file of weights, a run's folder, or 'paper' for the paper's network",
    )
    summary.add_argument(
        "--size", type=int, nargs=2, default=(256, 256), metavar=("HEIGHT", "WIDTH"), help="of the pair, in pixels"
    )


def run(args: argparse.Namespace) -> None:
    """Prints the tables."""
    from iassf_jax.evaluate import cost
    from iassf_jax.models import IASSF, build_model
    from iassf_jax.runtime import set_up
    from iassf_jax.weights.formats import read_weights

    set_up()
    height, width = args.size
    if min(height, width) < 1:
        raise UserError(f"--size {height} {width}: give a height and a width of at least 1")
    model = IASSF() if args.weights == "paper" else build_model(read_weights([args.weights]).model)
    print(f"{args.weights}: multiply-adds for one {width}x{height} pair\n\n{cost.table(model, height, width)}")
    if isinstance(model, IASSF):
        print(f"\n{cost.ablation_table(model, height, width)}")
