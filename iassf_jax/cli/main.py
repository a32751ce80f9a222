"""The command line: python -m iassf_jax COMMAND, or iassf-jax COMMAND."""

import argparse
import dataclasses
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from iassf_jax.data.haze import DEPTH_MEANINGS, HAZE_KINDS
from iassf_jax.errors import UserError
from iassf_jax.scenes.place import LIGHTINGS, PLACES
from iassf_jax.weights import shipped


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; bad input is one line on stderr and exit code 1."""
    args = _parser().parse_args(argv)
    try:
        code = args.run(args)
    except UserError as error:
        code = f"error: {error}"
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iassf-jax", description="Dehaze and fuse visible and infrared images.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_fuse(commands)

    summary = commands.add_parser("summary", help="parameters and multiply-adds of the network and its ablations")
    summary.add_argument(
        "--weights", "--workdir", help="a run's folder or a file of weights; default: the paper's network"
    )
    summary.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    summary.set_defaults(run=_summary)

    haze = commands.add_parser("haze", help="synthesise hazy images")
    haze.add_argument("--visible", required=True, metavar="DIR", help="clear images")
    haze.add_argument("--output", required=True, metavar="DIR", help="hazy PNGs and haze.json go there")
    haze.add_argument("--kind", default="msrs_release", choices=sorted(HAZE_KINDS))
    haze.add_argument("--seed", type=_at_least(0), default=0)
    haze.add_argument("--depth", metavar="DIR", help="depth maps, for the kind 'depth'")
    haze.add_argument("--depth-meaning", choices=DEPTH_MEANINGS, help="what the maps hold")
    haze.add_argument("--depth-scale", type=float, help="metres = value * SCALE (depth) or SCALE / value (disparity)")
    haze.add_argument("--range", dest="ranges", action="append", default=[], type=_range, metavar="NAME=LOW,HIGH",
                      help="what is drawn for each image, e.g. beta=0.01,0.03; may be repeated")  # fmt: skip
    haze.add_argument("--overwrite", action="store_true", help="make images anew that are already there")
    haze.set_defaults(run=_haze)

    convert = commands.add_parser("convert", help="weights from and to PyTorch (.pth), safetensors and Orbax")
    convert.add_argument("source", nargs="+", help="IASSF.pth or its parts, a .safetensors file, or a run's folder")
    convert.add_argument("target", help="ends in .pth or .safetensors, or is a new folder")
    convert.add_argument("--half", action="store_true", help="store float16, in a .safetensors file")
    convert.add_argument("--prompt-size", type=_at_least(1), help="resize the learned prompt pools to this side")
    convert.add_argument("--dtype", choices=("float32", "bfloat16"), help="what the network shall compute in (a GPU "
                         "trains in bfloat16, which is slow on a CPU)")  # fmt: skip
    convert.set_defaults(run=_convert)

    compare = commands.add_parser("compare", help="the released network against values that PyTorch gave")
    compare.add_argument("--torch", required=True, metavar="FILE", help="the weights: whatever 'convert' reads")
    compare.add_argument("--reference", required=True, metavar="VALUES.npz", help="see docs/parity.md")
    compare.add_argument("--output", default="results/compare", metavar="DIR", help="default: results/compare")
    compare.set_defaults(run=_compare)

    metrics = commands.add_parser("metrics", help="score folders of fused images side by side, with a report")
    metrics.add_argument("--fused", required=True, action="append", metavar="DIR", help="may be repeated")
    metrics.add_argument("--name", action="append", default=[], help="of the method, one for each --fused")
    metrics.add_argument("--visible", required=True, metavar="DIR", help="visible sources; the paper's are clear")
    metrics.add_argument("--infrared", required=True, metavar="DIR")
    metrics.add_argument("--output", default="results/metrics", metavar="DIR", help="default: results/metrics")
    metrics.add_argument("--color", choices=("gray", "rgb_mean"), default="gray", help="default: gray")
    metrics.add_argument("--nrqm-model", metavar="model.mat", help="for Q_PI, see docs/metrics.md")
    metrics.add_argument("--published", action="append", default=[], metavar="TABLE", help="show the paper's, e.g. I")
    metrics.add_argument("--workers", type=_at_least(1), default=2, help="threads (default: 2)")
    metrics.set_defaults(run=_metrics)

    scenes = commands.add_parser("scenes", help="write generated scenes: vi, ir and depth")
    scenes.add_argument("--output", required=True, metavar="DIR")
    scenes.add_argument("--count", type=_at_least(1), default=16)
    scenes.add_argument("--seed", type=_at_least(0), default=0)
    scenes.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    scenes.add_argument("--lighting", choices=LIGHTINGS, help="default: half day, a third night, the rest dusk")
    scenes.add_argument(
        "--places",
        default=(),
        type=_names,
        metavar="NAME[,NAME]",
        help=f"by turns, of {', '.join(PLACES)}; default: any with a road",
    )
    scenes.set_defaults(run=_scenes)

    pack = commands.add_parser(
        "pack", help="pairs as a few large files, for training elsewhere: give the folder as root"
    )
    pack.add_argument("--data", required=True, metavar="ROOT[,ROOT]", help="as --config.data.root")
    pack.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    how = pack.add_mutually_exclusive_group()
    how.add_argument("--quality", type=int, default=92, help="of JPEG, for 8-bit images (default: 92)")
    how.add_argument("--lossless", action="store_true", help="PNG for everything, about four times as large")
    how.add_argument("--raw", action="store_true", help="pixels as they are, large, and read without being decoded")
    pack.add_argument(
        "--longest-side", type=_at_least(0), default=0, metavar="PIXELS", help="shrink larger images to it"
    )
    pack.add_argument(
        "--stretch", action="store_true", help="stretch visible images to black and white; for veiled ones"
    )
    pack.add_argument("--without-hazy", action="store_true", help="leave stored hazy images out")
    pack.add_argument("--layout", default="auto", help="as --config.data.layout")
    pack.add_argument("--folder", action="append", default=[], type=_folder, metavar="ROLE=PATH",
                      help="as --config.data.folders.ROLE; may be repeated")  # fmt: skip
    pack.add_argument("--val-fraction", type=float, default=0.05, help="as --config.data.val_fraction (default: 0.05)")
    pack.set_defaults(run=_pack)

    demo = commands.add_parser("demo", help="a web page on this machine: choose a pair, see it dehazed and fused")
    demo.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    demo.add_argument("--port", type=int, default=7860, help="default: 7860")
    demo.add_argument("--checkpoint", metavar="NAME", help="shipped weights, a file of weights, or a run's folder")
    demo.add_argument("--max-pixels", type=int, default=4_000_000, metavar="N", help="largest image (default: 4000000)")
    demo.set_defaults(run=_demo)
    _add_export(commands)
    return parser


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="a network as one file for other programs: StableHLO or ONNX")
    export.add_argument("--checkpoint", required=True, help="a name of shipped weights, a run's folder or a file")
    export.add_argument("--format", required=True, choices=("stablehlo", "onnx"))
    export.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="fix it; ONNX needs that")
    export.add_argument("--output", required=True, metavar="FILE", help="must not exist")
    export.set_defaults(run=_export)


def _add_fuse(commands: Any) -> None:
    fuse = commands.add_parser("fuse", help="dehaze and fuse pairs of images, or videos")
    fuse.add_argument("--visible", required=True, metavar="PATH", help="hazy: an image, a folder, a 'glob', or a video")
    fuse.add_argument("--infrared", required=True, metavar="PATH", help="its partner, partners by name, or a video")
    fuse.add_argument(
        "--output", required=True, metavar="PATH", help="a folder, or a file for a single pair or a video"
    )
    fuse.add_argument("--checkpoint", default=shipped.DEFAULT, metavar="WEIGHTS",
                      help=f"{', '.join(shipped.names())}, a run or a file (default: {shipped.DEFAULT})")  # fmt: skip
    fuse.add_argument("--save", default=(), type=_extras, metavar="KINDS", help="also dehazed,haze,panel (images)")
    fuse.add_argument("--resize-infrared", action="store_true", help="bring infrared to the visible image's size")
    fuse.add_argument("--infrared-percentiles", type=float, nargs=2, metavar=("LOW", "HIGH"),
                      help="stretch raw thermal data between these, e.g. 1 99")  # fmt: skip
    fuse.add_argument(
        "--shard", default=(1, 1), type=_shard, metavar="I/N", help="every N-th pair from the I-th (1/N ... N/N)"
    )
    fuse.add_argument("--max-tile", type=int, default=1024, metavar="PIXELS",
                      help="larger images run in tiles of this side (default: 1024)")  # fmt: skip
    fuse.add_argument("--overlap", type=int, default=64, metavar="PIXELS", help="of tiles (default: 64)")
    fuse.add_argument("--refinements", type=int, default=1, metavar="N",
                      help="passes that measure a tiled image's statistics again (default: 1)")  # fmt: skip
    fuse.add_argument("--smoothing", type=float, default=0.9, metavar="SHARE",
                      help="video: share of the frames before in the statistics, 0..1 (default: 0.9)")  # fmt: skip
    fuse.add_argument("--overwrite", action="store_true", help="make anew what is there")
    fuse.set_defaults(run=_fuse)


def _at_least(low: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isdecimal() and int(text) >= low):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {low} or more")
        return int(text)

    return number


def _extras(text: str) -> tuple[str, ...]:
    kinds = ("dehazed", "haze", "panel")
    given = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in given if name not in kinds]:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}: use {','.join(kinds)}")
    return given


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form I/N with I from 1 to N")
    return int(index), int(count)


def _fuse(args: argparse.Namespace) -> int:
    from iassf_jax.data.layouts import format_problems
    from iassf_jax.fuse.files import Options, fuse_files
    from iassf_jax.fuse.fuser import load
    from iassf_jax.fuse.video import is_video
    from iassf_jax.runtime import set_up

    set_up()
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    fuser = load(args.checkpoint, max_tile=args.max_tile, overlap=args.overlap, refinements=args.refinements)
    if is_video(args.visible) or is_video(args.infrared):
        return _fuse_videos(fuser, args)
    names = [f.name for f in dataclasses.fields(Options)]
    options = Options(**{name: getattr(args, name) for name in names})
    with tqdm(unit="pair", disable=None) as bar:
        made, there, problems = fuse_files(
            fuser, args.visible, args.infrared, args.output, options, progress=_show(bar)
        )
    known = f" ({len(there)} {'was' if len(there) == 1 else 'were'} there)" if there else ""
    print(f"{len(made)} fused image{'s' * (len(made) != 1)} in {args.output}{known}")
    if problems:
        print(f"{len(problems)} left out:\n{format_problems(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _fuse_videos(fuser: Any, args: argparse.Namespace) -> int:
    from iassf_jax.fuse.video import fuse_videos

    if args.save or args.shard != (1, 1):
        raise UserError("--save and --shard are for images: leave them out for videos")
    with tqdm(unit="frame", disable=None) as bar:
        count = fuse_videos(
            fuser,
            args.visible,
            args.infrared,
            args.output,
            args.smoothing,
            resize_infrared=args.resize_infrared,
            infrared_percentiles=args.infrared_percentiles,
            overwrite=args.overwrite,
            progress=_show(bar),
        )
    print(f"{count} frames in {args.output}")
    return 0


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, values = text.partition("=")
    try:
        low, high = map(float, values.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=LOW,HIGH") from None
    return name, (low, high)


def _summary(args: argparse.Namespace) -> None:
    from iassf_jax.evaluate import cost
    from iassf_jax.models import IASSF, build_model
    from iassf_jax.runtime import set_up
    from iassf_jax.weights.formats import read_weights

    set_up()
    height, width = args.size
    if min(height, width) < 1:
        raise UserError(f"--size {height} {width}: give a height and a width of at least 1")
    model = build_model(read_weights([args.weights]).model) if args.weights else IASSF()
    print(f"multiply-adds for one {width}x{height} pair\n\n{cost.table(model, height, width)}")
    if isinstance(model, IASSF):
        print(f"\n{cost.ablation_table(model, height, width)}")


def _haze(args: argparse.Namespace) -> int:
    from iassf_jax.data.haze.folder import haze_folder
    from iassf_jax.data.layouts import format_problems

    bar = tqdm(unit="image", disable=None)
    records, problems = haze_folder(
        args.visible,
        args.output,
        args.kind,
        args.seed,
        depth_dir=args.depth,
        depth_meaning=args.depth_meaning,
        depth_scale=args.depth_scale,
        ranges=dict(args.ranges),
        progress=_show(bar),
        overwrite=args.overwrite,
    )
    bar.close()
    print(f"{len(records)} hazy images in {args.output}")
    if problems:
        print(f"{len(problems)} left out:\n{format_problems(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _convert(args: argparse.Namespace) -> None:
    from iassf_jax.weights.formats import read_weights, write_weights
    from iassf_jax.weights.pools import with_prompt_size

    weights = read_weights(args.source)
    if args.prompt_size:
        weights = with_prompt_size(weights, args.prompt_size)
    if args.dtype:
        weights = dataclasses.replace(weights, model={**weights.model, "dtype": args.dtype})
    write_weights(weights, args.target, args.half)
    print(f"{weights.summary()} -> {args.target}")


def _compare(args: argparse.Namespace) -> int:
    from iassf_jax.evaluate.parity import compare
    from iassf_jax.runtime import set_up

    set_up()
    report = compare(args.torch, args.reference, args.output)
    print(report.text())
    return 0 if report.passed else 1


def _metrics(args: argparse.Namespace) -> int:
    from iassf_jax.data.layouts import format_problems
    from iassf_jax.evaluate.folders import score_folders
    from iassf_jax.report import read_means
    from iassf_jax.runtime import set_up

    set_up()
    if args.name and len(args.name) != len(args.fused):
        raise UserError(f"{len(args.fused)} --fused and {len(args.name)} --name: give each folder one name, or none")
    names = args.name or [os.path.basename(os.path.abspath(folder)) for folder in args.fused]
    with tqdm(unit="image", disable=None) as bar:
        files, problems = score_folders(
            list(zip(names, args.fused, strict=True)),
            args.visible,
            args.infrared,
            args.output,
            color=args.color,
            nrqm_model=args.nrqm_model,
            workers=args.workers,
            published=args.published,
            progress=_show(bar),
        )
    print(f"{', '.join(path.name for path in files)} in {args.output}\n\n{read_means(args.output)}")
    if problems:
        print(f"{len(problems)} images are left out:\n{format_problems(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _show(bar: tqdm) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show


def _scenes(args: argparse.Namespace) -> None:
    from iassf_jax.scenes import write_scenes

    stems = write_scenes(args.output, args.count, args.seed, *args.size, args.places, args.lighting)
    print(f"{len(stems)} scenes in {args.output}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _folder(text: str) -> tuple[str, str]:
    role, _, path = text.partition("=")
    if not (role and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ROLE=PATH")
    return role, path


def _pack(args: argparse.Namespace) -> int:
    from iassf_jax.data.layouts import format_problems
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
            progress=_show(bar),
        )
    print(f"{packed.pairs} pairs, {packed.size / 1e6:.1f} MB in {packed.shards} files in {args.output}")
    if packed.problems:
        print(f"{len(packed.problems)} files are left out:\n{format_problems(packed.problems)}", file=sys.stderr)
    return 1 if packed.problems else 0


def _demo(args: argparse.Namespace) -> None:
    from iassf_jax.demo.page import page as demo

    demo.run(args.host, args.port, args.checkpoint, args.max_pixels)


def _export(args: argparse.Namespace) -> None:
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
