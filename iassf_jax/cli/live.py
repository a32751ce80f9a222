"""iassf-jax live."""

import argparse
import signal
import sys
import warnings

from iassf_jax.cli.arguments import Commands, at_least, command
from iassf_jax.weights import shipped

VIEWS = ("fused", "dehazed", "haze", "side", "split")


def add(commands: Commands) -> None:
    """Adds the command."""
    live = command(commands, "live", "dehaze and fuse two cameras as their frames come", run)
    source = "number of a device, a file, a pipe, or an address (rtsp, http, udp, tcp)"
    live.add_argument("--visible", required=True, metavar="SOURCE", help=source)
    live.add_argument("--infrared", required=True, metavar="SOURCE", help="the same")
    live.add_argument(
        "--output", default="window", metavar="WHERE", help="window, a file, or http://HOST:PORT to serve"
    )
    live.add_argument("--rig", metavar="FILE", help="what iassf-jax align wrote for these cameras")
    live.add_argument("--crop-to-overlap", action="store_true", help="leave what both cameras see")
    live.add_argument("--infrared-delay", type=float, default=0.0, metavar="S", help="seconds infrared comes later")
    live.add_argument("--smoothing-seconds", type=float, default=1.0, metavar="S", help="of haze maps over time")
    live.add_argument("--infrared-percentiles", type=float, nargs=2, metavar=("LOW", "HIGH"), help="e.g. 1 99")
    live.add_argument("--dehaze-strength", type=float, default=1.0, metavar="S", help="how much haze goes, 0 to 1")
    live.add_argument("--infrared-strength", type=float, default=1.0, metavar="S", help="how much infrared, 0 to 1")
    live.add_argument("--view", choices=VIEWS, default=VIEWS[0], help="what is shown first")
    live.add_argument("--folder", default=".", metavar="DIR", help="for stills (key s) and recordings (key r)")
    live.add_argument("--frames", type=at_least(1), metavar="N", help="stop after so many")
    live.add_argument("--overwrite", action="store_true", help="replace an output file that is there")
    live.add_argument("--checkpoint", default=shipped.DEFAULT, metavar="WEIGHTS", help="shipped weights, a run, a file")


def run(args: argparse.Namespace) -> None:
    """Shows until a source ends or the user leaves."""
    import cv2

    from iassf_jax.align.placing import Placing
    from iassf_jax.align.rig import Rig
    from iassf_jax.errors import UserError
    from iassf_jax.fuse.fuser import load
    from iassf_jax.fuse.strengths import Strengths
    from iassf_jax.live.loop import Live
    from iassf_jax.live.outputs import Recording, open_output
    from iassf_jax.live.show import KEYS, Show
    from iassf_jax.runtime import set_up

    if args.crop_to_overlap and not args.rig:
        raise UserError("--crop-to-overlap needs to know where the infrared image lies: give --rig")
    strengths = Strengths(args.dehaze_strength, args.infrared_strength)
    placing = Placing(Rig.read(args.rig), crop_to_overlap=args.crop_to_overlap) if args.rig else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that a recording is finished
    set_up()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what breaks off is told in the picture
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    output = open_output(args.output, args.overwrite, (args.visible, args.infrared))
    live = Live(
        args.visible,
        args.infrared,
        fuser=load(args.checkpoint),
        placing=placing,
        infrared_delay=args.infrared_delay,
        smoothing_seconds=args.smoothing_seconds,
        infrared_percentiles=args.infrared_percentiles and tuple(args.infrared_percentiles),
        strengths=strengths,
    )
    show = Show(live, output, args.view, args.folder)
    doing = "recording to" if isinstance(output, Recording) else "showing at"
    print(f"{doing} {args.output}; {f'keys: {KEYS}' if args.output == 'window' else 'stop with Ctrl-C'}", flush=True)
    try:
        show.run(args.frames)
    finally:
        print(f"{show.shown} pictures")
