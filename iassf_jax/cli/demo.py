"""iassf-jax demo."""

import argparse

from iassf_jax.cli.arguments import Commands, command


def add(commands: Commands) -> None:
    """Adds the command."""
    demo = command(commands, "demo", "a web page on this machine: choose a pair, see it dehazed and fused", run)
    demo.add_argument("--host", default="127.0.0.1", help="address to listen on; the default is this machine alone")
    demo.add_argument("--port", type=int, default=7860, help="to listen on")
    demo.add_argument("--checkpoint", metavar="NAME", help="shipped weights, a file of weights, or a run's folder")
    demo.add_argument("--max-pixels", type=int, default=4_000_000, metavar="N", help="largest image")
    demo.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name under which browsers ask for the page, besides --host and addresses (may be given again)",
    )


def run(args: argparse.Namespace) -> None:
    """Serves the page until it is stopped."""
    from iassf_jax.demo import page

    page.run(args.host, args.port, args.checkpoint, args.max_pixels, args.allow_host)
