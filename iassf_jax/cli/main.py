"""The command line: python -m iassf_jax COMMAND, or iassf-jax COMMAND. Each command is a file beside this one."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from iassf_jax import __version__
from iassf_jax.errors import UserError

COMMANDS = (
    "fuse",
    "align",
    "live",
    "demo",
    "export",
    "summary",
    "haze",
    "scenes",
    "pack",
    "metrics",
    "convert",
    "compare",
    "configs",
)
"""Modules of this package, in the order of the help; `train`, `eval` and `experiment` read flags of their own."""
FLAG_COMMANDS = {
    "train": "train a network: train --config NAME [--workdir RUN] [--config.FIELD=VALUE ...]",
    "eval": "evaluate a network: eval --checkpoint RUN_OR_WEIGHTS [--config NAME] [--output DIR]",
    "experiment": "train and compare variants: experiment --config experiments/NAME",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; bad input is one line on stderr and exit code 1."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in FLAG_COMMANDS:
        importlib.import_module(f"iassf_jax.cli.{argv[0]}").run([f"iassf-jax {argv[0]}", *argv[1:]])
        return
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


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong with a command in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2, as argparse does, but without the usage."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="iassf-jax", description="Dehaze and fuse visible and infrared images.")
    parser.add_argument("--version", action="version", version=f"iassf_jax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"iassf_jax.cli.{name}").add(commands)
    for name, about in FLAG_COMMANDS.items():  # for the help alone
        commands.add_parser(name, help=about)
    return parser
