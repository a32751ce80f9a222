"""iassf-jax compare."""

import argparse

from iassf_jax.cli.arguments import Commands, command


def add(commands: Commands) -> None:
    """Adds the command."""
    compare = command(commands, "compare", "the authors' released network against values that PyTorch gave", run)
    compare.add_argument("--torch", required=True, metavar="FILE", help="the weights: whatever 'convert' reads")
    compare.add_argument("--reference", required=True, metavar="VALUES.npz", help="see docs/parity.md")
    compare.add_argument("--output", default="results/compare", metavar="DIR", help="for pictures of differences")


def run(args: argparse.Namespace) -> int:
    """Compares; exit code 0 where every stage agrees."""
    from iassf_jax.evaluate.parity import compare
    from iassf_jax.runtime import set_up

    set_up()
    report = compare(args.torch, args.reference, args.output)
    print(report.text())
    return 0 if report.passed else 1
