"""iassf-jax fuse."""

import argparse
import sys
import warnings
from typing import Any

from tqdm import tqdm

from iassf_jax.cli.arguments import (
    Commands,
    add_pairing,
    affixes,
    at_least,
    command,
    left_out,
    names,
    share,
    shown,
    tell,
)
from iassf_jax.errors import UserError
from iassf_jax.weights import shipped

EXTRAS = ("dehazed", "haze", "panel")
_SMOOTHING = 0.9
_FIRST = "compiling (some seconds, once per size and machine)"


def add(commands: Commands) -> None:
    """Adds the command."""
    fuse = command(commands, "fuse", "dehaze and fuse pairs of images, or videos", run)
    fuse.add_argument("--visible", metavar="PATH", help="hazy: an image, a folder, a 'glob', or a video")
    fuse.add_argument("--infrared", metavar="PATH", help="its partner, partners by name, or a video")
    fuse.add_argument(
        "--output", required=True, metavar="PATH", help="a folder, or a file for a single pair or a video"
    )
    fuse.add_argument(
        "--checkpoint",
        default=shipped.DEFAULT,
        metavar="WEIGHTS",
        help=f"{', '.join(shipped.names())}, a run or a file",
    )
    fuse.add_argument("--save", default=(), type=_extras, metavar="KINDS", help=f"also {','.join(EXTRAS)} (images)")
    fuse.add_argument("--dehaze-strength", type=float, default=1.0, metavar="S", help="how much haze goes, 0 to 1")
    fuse.add_argument("--infrared-strength", type=float, default=1.0, metavar="S", help="how much infrared, 0 to 1")
    fuse.add_argument(
        "--t0", type=float, metavar="T", help="least transmission, e.g. 0.1: lower takes off more haze, with more noise"
    )
    fuse.add_argument("--overwrite", action="store_true", help="make anew what is there")
    fuse.add_argument(
        "--manifest", action="store_true", help="beside a single image file too: what it was made of; folders have one"
    )
    fuse.add_argument(
        "--shard", default=(1, 1), type=_shard, metavar="I/N", help="every N-th pair from the I-th (1/N ... N/N)"
    )
    fuse.add_argument(
        "--smoothing",
        type=share,
        default=_SMOOTHING,
        metavar="SHARE",
        help="video: share of the frames before, 0 to below 1",
    )
    place = fuse.add_argument_group("alignment", "of pairs that do not lie pixel on pixel")
    place.add_argument("--rig", metavar="FILE", help="what iassf-jax align wrote for these cameras")
    place.add_argument("--register", action="store_true", help="align each pair anew; where it fails, the rig stands")
    place.add_argument("--crop-to-overlap", action="store_true", help="leave what both cameras see")
    _add_inputs(fuse.add_argument_group("inputs", "how files are read, paired and prepared"))
    tiles = fuse.add_argument_group("tiles", "of large images, for networks that see them at full size")
    tiles.add_argument("--max-tile", type=at_least(1), default=1024, metavar="PIXELS", help="longest side")
    tiles.add_argument("--overlap", type=at_least(0), default=64, metavar="PIXELS", help="of neighbours")
    tiles.add_argument(
        "--refinements", type=at_least(0), default=1, metavar="N", help="passes that measure statistics again"
    )
    many = fuse.add_argument_group("tables", "of pairs, in place of --visible and --infrared, docs/bulk.md")
    many.add_argument(
        "--pairs", metavar="TABLE", help="CSV or Parquet: columns visible, infrared, perhaps name; or URL"
    )
    many.add_argument("--engine", choices=("here", "ray"), default="here", help="this process, or a Ray cluster")
    many.add_argument("--address", metavar="ADDRESS", help="of the cluster; without: one of this machine alone")
    many.add_argument("--gpus-per-worker", type=float, metavar="N", help="default 1 where there are any, else 0")
    many.add_argument("--workers", type=at_least(1), metavar="N", help="default: all GPUs, or one a machine")


def _add_inputs(inputs: Any) -> None:
    inputs.add_argument("--resize-infrared", action="store_true", help="bring infrared to the visible image's size")
    for side, data in (("infrared", "raw thermal data"), ("visible", "16-bit images that use 8 to 14 bits")):
        inputs.add_argument(
            f"--{side}-percentiles",
            nargs="+",
            default="auto",
            metavar="P",
            help=f"LOW HIGH: stretch between these, e.g. 1 99; auto: {data}; none",
        )
    inputs.add_argument(
        "--infrared-border",
        choices=("drop", "keep"),
        default="drop",
        help="bands of one value, without heat",
    )
    inputs.add_argument(
        "--damaged", choices=("refuse", "read"), default="refuse", help="JPEG files that are cut off: as far as they go"
    )
    add_pairing(inputs)


def _extras(text: str) -> tuple[str, ...]:
    given = names(text)
    if unknown := [name for name in given if name not in EXTRAS]:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}: use {','.join(EXTRAS)}")
    return given


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form I/N with I from 1 to N")
    return int(index), int(count)


def _text(words: str | list[str]) -> str:
    """What was given for an option of several words, or its default."""
    return words if isinstance(words, str) else " ".join(words)


def run(args: argparse.Namespace) -> int:
    """Fuses what the arguments name; the exit code."""
    from iassf_jax.data.levels import parse_percentiles
    from iassf_jax.fuse.fuser import load
    from iassf_jax.fuse.prepare import Preparation
    from iassf_jax.fuse.strengths import Strengths
    from iassf_jax.fuse.video_files import is_video
    from iassf_jax.runtime import set_up

    _check_inputs(args)
    how = {
        "strengths": Strengths(args.dehaze_strength, args.infrared_strength, args.t0),
        "preparation": Preparation(
            args.resize_infrared,
            parse_percentiles(_text(args.infrared_percentiles)),
            parse_percentiles(_text(args.visible_percentiles), "visible"),
            args.infrared_border,
        ),
        "orient": args.orient,
        "overwrite": args.overwrite,
        "placing": _placing(args),
    }
    of_videos = not args.pairs and (is_video(args.visible) or is_video(args.infrared))
    if args.smoothing != _SMOOTHING and not of_videos:
        raise UserError("--smoothing is for videos: leave it out for images")
    set_up()
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    fuser = load(args.checkpoint, max_tile=args.max_tile, overlap=args.overlap, refinements=args.refinements)
    if args.pairs:
        return _run_table(fuser, args, how)
    return (_run_videos if of_videos else _run_images)(fuser, args, how)


def _check_inputs(args: argparse.Namespace) -> None:
    """Also keeps the GPUs for Ray's workers, where this process only hands out the work."""
    from iassf_jax.fuse.pairs import NO_AFFIXES

    if args.pairs and (args.visible or args.infrared):
        raise UserError("--pairs names both sides: leave --visible and --infrared out")
    if not args.pairs and not (args.visible and args.infrared):
        raise UserError("what shall be fused? Give --visible and --infrared, or --pairs")
    if args.pairs and args.overwrite and args.shard != (1, 1):
        raise UserError("--overwrite forgets what all shards of a table have made: leave --shard or --overwrite out")
    if not args.pairs and args.engine != "here":
        raise UserError("--engine is for tables: give --pairs")
    if args.engine != "ray" and any(x is not None for x in (args.address, args.workers, args.gpus_per_worker)):
        raise UserError("--address, --workers and --gpus-per-worker are for --engine ray: leave them out, or give it")
    if args.pairs and (args.manifest or affixes(args) != NO_AFFIXES):
        raise UserError("a table has a manifest and names its files: leave --manifest, prefixes and suffixes out")
    if args.engine == "ray":
        import jax

        jax.config.update("jax_platforms", "cpu")


def _run_table(fuser: Any, args: argparse.Namespace, how: dict[str, Any]) -> int:
    from iassf_jax.fuse.bulk import fuse_table, here
    from iassf_jax.fuse.files import Options
    from iassf_jax.fuse.table import failures_path

    options = Options(args.save, shard=args.shard, damaged=args.damaged == "read", **how)
    engine = here
    if args.engine == "ray":
        from iassf_jax.fuse.on_ray import ray_engine

        engine = ray_engine(args.address, args.gpus_per_worker, args.workers)
    with tqdm(unit="pair", desc=_FIRST, disable=None) as bar:
        made, there, failed, notes = fuse_table(fuser, args.pairs, args.output, options, engine, shown(bar))
    known = f" ({there} {'was' if there == 1 else 'were'} there)" if there else ""
    print(f"{made} fused image{'s' * (made != 1)} in {args.output}{known}")
    tell(notes)
    if failed:
        print(f"{failed} left out, with reasons: {failures_path(args.output, args.shard)}", file=sys.stderr)
    return 1 if failed else 0


def _placing(args: argparse.Namespace) -> Any:
    """None without --rig and --register."""
    from iassf_jax.align.placing import Placing
    from iassf_jax.align.rig import Rig

    if not (args.rig or args.register or args.crop_to_overlap):
        return None
    if not (args.rig or args.register):
        raise UserError("--crop-to-overlap needs to know where the infrared image lies: give --rig, or --register")
    return Placing(Rig.read(args.rig) if args.rig else None, args.register, args.crop_to_overlap)


def _run_images(fuser: Any, args: argparse.Namespace, how: dict[str, Any]) -> int:
    from iassf_jax.fuse.files import Options, fuse_files

    read = {"damaged": args.damaged == "read", "affixes": affixes(args), "manifest": args.manifest}
    options = Options(args.save, shard=args.shard, **read, **how)
    with tqdm(unit="pair", desc=_FIRST, disable=None) as bar:
        made, there, problems, notes = fuse_files(
            fuser, args.visible, args.infrared, args.output, options, progress=shown(bar)
        )
    known = f" ({len(there)} {'was' if len(there) == 1 else 'were'} there)" if there else ""
    print(f"{len(made)} fused image{'s' * (len(made) != 1)} in {args.output}{known}")
    tell((item.visible, note) for item, note in notes)
    return left_out(problems)


def _run_videos(fuser: Any, args: argparse.Namespace, how: dict[str, Any]) -> int:
    from iassf_jax.fuse.video import fuse_videos

    given = args.save, args.manifest, args.shard != (1, 1), args.damaged == "read", *vars(affixes(args)).values()
    if any(given):
        options = "--save, --manifest, --shard, --damaged, prefixes and suffixes"
        raise UserError(f"{options} are for images: leave them out for videos")
    with tqdm(unit="frame", desc=_FIRST, disable=None) as bar:
        count, notes, problems = fuse_videos(
            fuser, args.visible, args.infrared, args.output, args.smoothing, progress=shown(bar), **how
        )
    print(f"{count} frames in {args.output}")
    tell((args.visible, note) for note in notes)
    return left_out(problems, "ended early")
