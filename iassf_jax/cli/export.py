"""iassf-jax export."""

import argparse

from iassf_jax.cli.arguments import Commands, command
from iassf_jax.errors import UserError


def add(commands: Commands) -> None:
    """Adds the command."""
    export = command(commands, "export", "a network as one file for other programs: StableHLO or ONNX", run)
    export.add_argument("--checkpoint", required=True, help="a name of shipped weights, a run's folder or a file")
    export.add_argument("--format", required=True, choices=("stablehlo", "onnx"), help="of the file")
    export.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="fix it; ONNX needs that")
    export.add_argument("--output", required=True, metavar="FILE", help="must not exist")


def run(args: argparse.Namespace) -> None:
    """Writes the file."""
    from iassf_jax.runtime import set_up
    from iassf_jax.weights.export import export_onnx, export_stablehlo
    from iassf_jax.weights.formats import read_weights

    set_up()
    if args.format == "onnx" and args.size is None:
        raise UserError("ONNX files take one size: give --size HEIGHT WIDTH, or --format stablehlo for open sizes")
    weights = read_weights([args.checkpoint])
    if args.format == "onnx":
        exported = export_onnx(weights, args.output, *args.size)
    else:
        exported = export_stablehlo(weights, args.output, args.size and tuple(args.size))
    print(exported.text())
