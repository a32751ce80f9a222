"""Evaluates a trained network: python eval.py --checkpoint RUN_OR_WEIGHTS [--config configs/msrs.py] [--output DIR]."""

import sys

from iassf_jax.cli.interrupts import heard

if __name__ == "__main__":
    with heard():
        from iassf_jax.cli.eval import run

        run(sys.argv)
