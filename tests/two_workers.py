"""`iassf-jax` on a Ray cluster of two workers of this machine, two pairs a chunk: python -m two_workers fuse ...

A process of its own, as users have it: Ray's threads, sockets and warnings are none of the tests'.
"""

import sys

import ray

import one_layer
from iassf_jax.cli.main import main
from iassf_jax.fuse import bulk

if __name__ == "__main__":
    chunks = bulk._chunks
    bulk._chunks = lambda rows: [chunk for i in range(0, len(rows), 2) for chunk in chunks(rows[i : i + 2])]
    bulk.ChunkFuser = one_layer.ChunkFuserThatKnowsIt
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    main(sys.argv[1:])
