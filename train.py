"""Trains a network: python train.py --config configs/msrs.py [--workdir RUN] [--config.FIELD=VALUE ...]."""

import sys

from iassf_jax.cli.train import run

if __name__ == "__main__":
    run(sys.argv)
