"""Trains a network: python train.py --config configs/msrs.py [--workdir RUN] [--config.FIELD=VALUE ...]."""

import sys

from iassf_jax.cli.interrupts import heard

if __name__ == "__main__":
    with heard():
        from iassf_jax.cli.train import run

        run(sys.argv)
