"""iassf-jax metrics."""

import argparse
import os
import sys

from tqdm import tqdm

from iassf_jax.cli.arguments import Commands, at_least, command, left_out, shown
from iassf_jax.errors import UserError


def add(commands: Commands) -> None:
    """Adds the command."""
    metrics = command(commands, "metrics", "score folders of fused images side by side, with a report", run)
    metrics.add_argument("--fused", required=True, action="append", metavar="DIR", help="of a method; may be repeated")
    metrics.add_argument(
        "--dehazed", action="append", default=[], metavar="DIR", help="of its dehazed images, one for each --fused"
    )
    metrics.add_argument("--name", action="append", default=[], help="of the method, one for each --fused")
    metrics.add_argument("--visible", required=True, metavar="DIR", help="visible sources; the paper's are clear")
    metrics.add_argument("--infrared", required=True, metavar="DIR", help="infrared sources")
    metrics.add_argument("--output", default="results/metrics", metavar="DIR", help="for the report")
    metrics.add_argument("--color", choices=("gray", "rgb_mean"), default="gray", help="how colours are scored")
    metrics.add_argument("--nrqm-model", metavar="model.mat", help="for Q_PI, see docs/evaluate.md")
    metrics.add_argument("--published", action="append", default=[], metavar="TABLE", help="show the paper's, e.g. I")
    metrics.add_argument("--workers", type=at_least(1), default=2, help="threads")


def run(args: argparse.Namespace) -> int:
    """Scores; the exit code."""
    from iassf_jax.evaluate.folders import score_folders
    from iassf_jax.report import read_means
    from iassf_jax.runtime import set_up

    set_up()
    if args.name and len(args.name) != len(args.fused):
        raise UserError(f"{len(args.fused)} --fused and {len(args.name)} --name: give each folder one name, or none")
    names = args.name or [os.path.basename(os.path.abspath(folder)) for folder in args.fused]
    with tqdm(unit="image", disable=None) as bar:
        files, problems, lacking = score_folders(
            list(zip(names, args.fused, strict=True)),
            args.visible,
            args.infrared,
            args.output,
            dehazed=args.dehazed,
            color=args.color,
            nrqm_model=args.nrqm_model,
            workers=args.workers,
            published=args.published,
            progress=shown(bar),
        )
    print(f"{', '.join(path.name for path in files)} in {args.output}\n\n{read_means(args.output)}")
    if lacking:
        print(f"note: pairs without a fused image: {lacking}", file=sys.stderr)
    return left_out(problems, "images are left out")
