"""iassf-jax pack."""

import argparse

from tqdm import tqdm

from iassf_jax.cli.arguments import Commands, at_least, command, left_out, role_path, shown


def add(commands: Commands) -> None:
    """Adds the command."""
    pack = command(commands, "pack", "many pairs as a few large files, for training: give the folder as data.root", run)
    pack.add_argument("--data", required=True, metavar="ROOT[,ROOT]", help="as --config.data.root")
    pack.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    how = pack.add_mutually_exclusive_group()
    how.add_argument("--quality", type=int, default=92, help="of JPEG, for 8-bit images")
    how.add_argument("--lossless", action="store_true", help="PNG for everything, about four times as large")
    how.add_argument("--raw", action="store_true", help="pixels as they are, large, and read without being decoded")
    pack.add_argument(
        "--longest-side", type=at_least(0), default=0, metavar="PIXELS", help="shrink larger images to it"
    )
    pack.add_argument("--stretch", action="store_true", help="stretch the levels of visible images that carry a veil")
    pack.add_argument("--without-hazy", action="store_true", help="leave stored hazy images out")
    pack.add_argument("--layout", default="auto", help="as --config.data.layout")
    pack.add_argument(
        "--folder",
        action="append",
        default=[],
        type=role_path,
        metavar="ROLE=PATH",
        help="as --config.data.folders.ROLE; may be repeated",
    )
    pack.add_argument("--val-fraction", type=float, default=0.05, help="as --config.data.val_fraction")


def run(args: argparse.Namespace) -> int:
    """Packs; the exit code."""
    from iassf_jax.data.packed import pack

    folders = dict(args.folder) or None
    with tqdm(unit="pair", disable=None) as bar:
        packed = pack(
            args.data,
            args.output,
            layout="folders" if folders else args.layout,
            folders=folders,
            val_fraction=args.val_fraction,
            quality=None if args.lossless else args.quality,
            raw=args.raw,
            with_hazy=not args.without_hazy,
            longest_side=args.longest_side,
            stretch=args.stretch,
            progress=shown(bar),
        )
    print(f"{packed.pairs} pairs, {packed.size / 1e6:.1f} MB in {packed.shards} files in {args.output}")
    return left_out(packed.problems, "files are left out")
