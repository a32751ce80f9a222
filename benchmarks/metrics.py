"""Speed of the fusion metrics against the Python packages that compute the same numbers: python -m benchmarks.metrics

Generated pairs of 480x640; ours and theirs alternate in one run, and the median of the rounds counts. A reference is a
package that gives the same value (checked here); for the other metrics there is none on PyPI that does. Needs
scikit-learn and sewar (extra "bench"). With `--evaluator` a copy of CDDFuse's `utils/Evaluator.py`, which the field
uses much and which is not ours to ship, is timed as well: one by one and all eight of its metrics that we have.
"""

import argparse
import functools
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from sewar.full_ref import vifp
from sklearn.metrics import mutual_info_score

from benchmarks.speed import machine
from iassf_jax.metrics.color import to_gray
from iassf_jax.metrics.filters import precision
from iassf_jax.metrics.fusion_scores import fusion_scores
from iassf_jax.metrics.mutual_information import entropy, q_mi
from iassf_jax.metrics.qabf import q_abf
from iassf_jax.metrics.scd import q_scd
from iassf_jax.metrics.spatial import average_gradient, q_sf, standard_deviation
from iassf_jax.metrics.vif import q_vif
from iassf_jax.scenes import SceneSource

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def _mi_reference(fused: np.ndarray, infrared: np.ndarray, visible: np.ndarray) -> float:
    return sum(mutual_info_score(x.reshape(-1), fused.reshape(-1)) for x in (infrared, visible))


def _vif_reference(fused: np.ndarray, infrared: np.ndarray, visible: np.ndarray) -> float:
    return sum(vifp(x.astype(np.float64), fused.astype(np.float64)) for x in (infrared, visible))


_q_mi = jax.jit(q_mi)
_q_vif = jax.jit(lambda *images: q_vif(*images, variant="vifp_sum"))


def _ours(function: Callable[..., jax.Array]) -> Callable[..., float]:
    def run(*images: np.ndarray) -> float:
        with precision():
            return float(function(*(x[None] for x in images))[0])

    return run


PAIRS = {
    "Q_MI (scikit-learn)": (_ours(_q_mi), _mi_reference),
    "Q_VIF, vifp_sum (sewar)": (_ours(_q_vif), _vif_reference),
}


_SOURCED = {"MI": q_mi, "Qabf": q_abf, "SCD": q_scd, "VIFF": functools.partial(q_vif, variant="vifp_sum")}
_ALONE = {"SF": q_sf, "EN": entropy, "SD": standard_deviation, "AG": average_gradient}


def _evaluator_pairs(path: str) -> dict[str, tuple[Callable[..., float], Callable[..., float]]]:
    """Ours and theirs for each metric of CDDFuse's `Evaluator`, and for all of them."""
    spec = importlib.util.spec_from_file_location("evaluator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def theirs(name: str) -> Callable[..., float]:
        function = getattr(module.Evaluator, name)

        def run(*grey: np.ndarray) -> float:
            images = [x.astype(np.float64) for x in grey]
            return float(function(*(images if name in _SOURCED else images[:1])))

        return run

    def alone(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda fused, *_: function(fused)

    ours = {**_SOURCED, **{name: alone(function) for name, function in _ALONE.items()}}
    pairs = {f"{name} (CDDFuse)": (_ours(jax.jit(function)), theirs(name)) for name, function in ours.items()}
    together = _ours(jax.jit(lambda *grey: sum(function(*grey) for function in ours.values())))
    pairs["all eight (CDDFuse)"] = (together, lambda *grey: sum(theirs(name)(*grey) for name in ours))
    return pairs


def _seconds(function: Callable[..., object], images: Triple) -> float:
    start = time.perf_counter()
    function(*images)
    return time.perf_counter() - start


def main() -> None:
    """Prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluator", metavar="Evaluator.py", help="of CDDFuse")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", default="benchmarks/results/metrics.json")
    args = parser.parse_args()
    scene = SceneSource(1, 0, 480, 640)[0]
    fused = np.maximum(scene.visible, scene.infrared[..., None])
    colour = (fused, scene.infrared, scene.visible)
    grey = tuple(to_gray(x) for x in colour)
    rows = {}
    pairs = PAIRS | (_evaluator_pairs(args.evaluator) if args.evaluator else {})
    for name, (ours, theirs) in pairs.items():
        difference = abs(ours(*grey) / theirs(*grey) - 1)
        times = np.array([[_seconds(ours, grey), _seconds(theirs, grey)] for _ in range(args.rounds)])
        rows[name] = {"times_faster": float(np.median(times[:, 1] / times[:, 0])), "relative_difference": difference}
    fusion_scores(*colour)
    every = np.median([_seconds(fusion_scores, colour) for _ in range(args.rounds)])
    for name, row in rows.items():
        print(f"{name:<26}{row['times_faster']:8.1f} times faster, values differ by {row['relative_difference']:.0e}")
    print(f"all ten metrics of one image: {1 / every:.1f} images a second")
    result = {
        **machine.description("scikit-learn", "sewar"),
        "size": [480, 640],
        "rows": rows,
        "images_per_second": 1 / every,
    }
    path = Path(args.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
