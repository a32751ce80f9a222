"""What a smaller prompt pool costs trained weights: python -m benchmarks.prompt_pool --checkpoint FILE --data MSRS

Without any training: the learned pools are shrunk by area means, or cut to a few principal components of their pixels,
and the network is scored again on validation images.
"""

import argparse
import functools
from collections.abc import Iterator

import jax
import numpy as np

from configs import haze
from iassf_jax import runtime
from iassf_jax.data import pipeline
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.fuse.network import Predictor
from iassf_jax.models import build_model
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import Weights, read_weights
from iassf_jax.weights.pools import map_pools, with_prompt_size


def variants(weights: Weights) -> Iterator[tuple[str, int, Weights]]:
    """Name, numbers that the pools then take, and the weights."""
    side = weights.model["prompt_size"]
    pools = [x for path, x in jax.tree_util.tree_leaves_with_path(weights.params) if path[-1].key == "pool"]
    count = sum(pool.size for pool in pools)
    yield f"{side} x {side}, as trained", count, weights
    for small in (32, 16, 8, 1):
        if small < side:
            yield f"{small} x {small}", count * small**2 // side**2, with_prompt_size(weights, small)
    for rank in (8, 2):
        numbers = sum(rank * (pool[..., 0].size + pool.shape[-1]) for pool in pools)
        yield f"{side} x {side}, rank {rank}", numbers, map_pools(functools.partial(_of_rank, rank=rank), weights)


def _of_rank(pool: np.ndarray, rank: int) -> np.ndarray:
    """The pixels of a pool in so many components over the channels."""
    left, values, right = np.linalg.svd(np.float32(pool).reshape(-1, pool.shape[-1]), full_matrices=False)
    return ((left[:, :rank] * values[:rank]) @ right[:rank]).reshape(pool.shape)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--data", required=True, metavar="ROOT[,ROOT]")
    parser.add_argument("--kind", default="homogeneous", help="of haze (default: homogeneous)")
    parser.add_argument("--limit", type=int, default=6, help="validation images (default: 6)")
    args = parser.parse_args()
    runtime.set_up(None)
    config = haze.get_config()
    config.data.root = args.data
    source, _ = pipeline.make_source(config.data, "val")
    examples = [
        pipeline.whole_example(source, i, {"kinds": (args.kind,), "ranges": {}}, 0)
        for i in evaluation.spread(len(source), args.limit)
    ]
    print(f"| pool | numbers | PSNR on {len(examples)} images, {args.kind} |\n|---|---|---|")
    for name, numbers, weights in variants(read_weights([args.checkpoint])):
        predictor = Predictor(build_model(weights.model), weights.params, config.eval.pad_multiple)
        scores = [evaluation.score(result)["psnr"] for result in evaluation.predict(predictor, examples)]
        print(f"| {name} | {numbers:,} | {np.mean(scores):.3f} dB |", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
