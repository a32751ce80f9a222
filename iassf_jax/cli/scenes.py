"""iassf-jax scenes."""

import argparse

from iassf_jax.cli.arguments import Commands, at_least, command, names
from iassf_jax.scenes.place import LIGHTINGS, PLACES


def add(commands: Commands) -> None:
    """Adds the command."""
    scenes = command(commands, "scenes", "write generated scenes: clear visible and infrared images, and depth", run)
    scenes.add_argument("--output", required=True, metavar="DIR", help="folders vi, ir and depth go there")
    scenes.add_argument("--count", type=at_least(1), default=16, help="how many")
    scenes.add_argument("--seed", type=at_least(0), default=0, help="of all of them")
    scenes.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"), help="in pixels")
    scenes.add_argument("--lighting", choices=LIGHTINGS, help="default: half day, a third night, the rest dusk")
    scenes.add_argument(
        "--places",
        default=(),
        type=names,
        metavar="NAME[,NAME]",
        help=f"by turns, of {', '.join(PLACES)}; default: any with a road",
    )


def run(args: argparse.Namespace) -> None:
    """Writes the files."""
    from iassf_jax.scenes import write_scenes

    stems = write_scenes(args.output, args.count, args.seed, *args.size, args.places, args.lighting)
    print(f"{len(stems)} scenes in {args.output}")
