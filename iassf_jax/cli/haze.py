"""iassf-jax haze."""

import argparse
from pathlib import Path

from tqdm import tqdm

from iassf_jax.cli.arguments import Commands, at_least, command, left_out, shown, value_range
from iassf_jax.data.haze import DEPTH_MEANINGS, HAZE_KINDS


def add(commands: Commands) -> None:
    """Adds the command."""
    haze = command(commands, "haze", "put haze on clear images", run)
    haze.add_argument("--visible", required=True, metavar="DIR", help="clear images")
    haze.add_argument("--output", required=True, metavar="DIR", help="hazy PNGs and haze.json go there")
    haze.add_argument("--kind", default="outdoor", choices=sorted(HAZE_KINDS), help="of haze, see docs/data.md")
    haze.add_argument("--seed", type=at_least(0), default=0, help="of all that is drawn")
    haze.add_argument("--depth", metavar="DIR", help="depth maps: needed by 'depth', followed by 'outdoor' and 'dense'")
    haze.add_argument("--depth-meaning", choices=DEPTH_MEANINGS, help="what the maps hold")
    haze.add_argument("--depth-scale", type=float, help="metres = value * SCALE (depth) or SCALE / value (disparity)")
    haze.add_argument(
        "--range",
        dest="ranges",
        action="append",
        default=[],
        type=value_range,
        metavar="NAME=LOW,HIGH",
        help="what is drawn for each image, e.g. beta=0.5,2; may be repeated",
    )
    haze.add_argument("--overwrite", action="store_true", help="make images anew that are already there")


def run(args: argparse.Namespace) -> int:
    """Makes the images; the exit code."""
    from iassf_jax.data.haze.folder import haze_folder

    before = set() if args.overwrite else {path.stem for path in Path(args.output).glob("*.png")}
    with tqdm(unit="image", disable=None) as bar:
        records, problems = haze_folder(
            args.visible,
            args.output,
            args.kind,
            args.seed,
            depth_dir=args.depth,
            depth_meaning=args.depth_meaning,
            depth_scale=args.depth_scale,
            ranges=dict(args.ranges),
            progress=shown(bar),
            overwrite=args.overwrite,
        )
    kept = sum(record.stem in before for record in records)
    told = f" ({kept} were there; --overwrite makes them anew)" if kept else ""
    print(f"{len(records)} hazy images in {args.output}{told}")
    return left_out(problems)
