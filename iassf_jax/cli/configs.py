"""iassf-jax configs."""

import argparse
import shutil
from pathlib import Path

from iassf_jax.cli.arguments import Commands, command
from iassf_jax.errors import UserError


def add(commands: Commands) -> None:
    """Adds the command."""
    configs = command(commands, "configs", "list the shipped configs, or copy one to edit it", run)
    configs.add_argument("--copy", metavar="NAME", help="writes NAME.py into this folder")


def run(args: argparse.Namespace) -> None:
    """Lists or copies."""
    from iassf_jax.cli.flags import SHIPPED, config_path, shipped_configs

    if args.copy is None:
        for name in shipped_configs():
            first = (SHIPPED / f"{name}.py").read_text(encoding="utf-8").splitlines()[0]
            print(f"{name:<28}{first.strip(chr(34))}")
        return
    source = Path(config_path(args.copy))
    target = Path(source.name)
    if target.exists():
        raise UserError(f"{target}: is there already: rename it, or work in another folder")
    shutil.copyfile(source, target)
    print(f"{target}: edit it, then: iassf-jax train --config {target}")
