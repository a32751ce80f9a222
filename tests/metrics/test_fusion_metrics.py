"""The metrics of fused images against the values of named reference implementations, and where they are undefined.

Golden values were made by running the references on images that are not redistributable; those tests skip without them.
"""

import functools
import hashlib
import json
import types

import cv2
import jax
import numpy as np
import pytest

from iassf_jax.metrics.color import to_gray, to_luma
from iassf_jax.metrics.filters import precision
from iassf_jax.metrics.fusion_scores import fusion_scores, means, pi_score
from iassf_jax.metrics.mutual_information import entropy, q_mi
from iassf_jax.metrics.niqe import q_niqe
from iassf_jax.metrics.qabf import q_abf
from iassf_jax.metrics.qcv import q_cv
from iassf_jax.metrics.scd import q_scd
from iassf_jax.metrics.spatial import average_gradient, q_sf, standard_deviation
from iassf_jax.metrics.vif import q_vif
from iassf_jax.scenes import SceneSource

TRIPLES = ["tno_08_DenseFuse", "tno_35_IFCNN", "road_037_PIAFusion"]
SLOW = ["tno_12_PIAFusion", "tno_17_SeAFusion", "tno_40_U2Fusion", "msrs_00537D_PIAFusion", "msrs_00881N_PIAFusion"]
ALL = [*TRIPLES, *(pytest.param(t, marks=pytest.mark.slow) for t in SLOW)]


def partial(function, variant):
    return lambda *images: function(*images, variant=variant)


# Golden metric and variant -> our function, and the relative tolerance. VIFF compares variances with 1e-10: rounding.
PAIRED = {
    ("Q_MI", "sum_nats"): (q_mi, 1e-10),
    ("Q_MI", "sum_bits_saturating"): (partial(q_mi, "sum_bits_saturating"), 1e-10),
    ("Q_MI", "nmi_hossny"): (partial(q_mi, "normalised"), 1e-10),
    ("Q_ABF", "gray_0_255"): (q_abf, 1e-10),
    ("Q_ABF", "liu_xydeas"): (partial(q_abf, "liu"), 1e-7),
    ("Q_CV", "gray"): (q_cv, 1e-10),
    ("Q_SCD", "gray"): (q_scd, 1e-10),
    ("Q_VIF", "viff_han"): (q_vif, 1e-4),
    ("Q_VIF", "vifp_sum"): (partial(q_vif, "vifp_sum"), 1e-8),
}
ALONE = {
    ("Q_SF", "gray_mean_valid"): (q_sf, 1e-10),
    ("Q_SF", "gray_divided_by_MN"): (partial(q_sf, "divided_by_pixels"), 1e-10),
}


@pytest.fixture
def reference(golden):
    """Golden values, and a reader of their images that checks every pixel."""
    values = json.loads((golden / "metrics" / "golden_metrics.json").read_text())

    @functools.cache
    def read(triple, kind):
        about = values["triples"][triple][kind]
        image = cv2.imread(str(golden / "metrics" / about["file"]), cv2.IMREAD_UNCHANGED)
        image = image[..., ::-1] if image.ndim == 3 else image
        assert hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() == about["sha256_pixels"]
        return image

    return values, read


def compute(function, *images):
    with precision():
        return float(jax.jit(function)(*(x[None] for x in images))[0])


@pytest.mark.parametrize("triple", ALL)
def test_agrees_with_named_references(reference, triple):
    values, read = reference
    fused, infrared, visible = (to_gray(read(triple, kind)) for kind in ("fused", "ir", "vi"))
    for table, images in ((PAIRED, (fused, infrared, visible)), (ALONE, (fused,))):
        for (metric, variant), (function, tolerance) in table.items():
            expected = values["metrics"][metric]["variants"][variant]["values"][triple]
            assert compute(function, *images) == pytest.approx(expected, rel=tolerance), (metric, variant)
    # Grey by OpenCV in float there, which differs from MATLAB's in a few pixels of colour images.
    for name, function in (("EN", entropy), ("SD", standard_deviation), ("AG", average_gradient)):
        assert compute(function, fused) == pytest.approx(values["extra_metrics"][name]["values"][triple], rel=5e-6), (
            name
        )


@pytest.mark.parametrize("triple", ALL)
def test_niqe_agrees_with_the_official_release(reference, triple):
    """Strictly where references agree with each other; elsewhere rounding in flat areas allows twice their spread."""
    values, read = reference
    golden = values["metrics"]["Q_NIQE"]["variants"]
    image = read(triple, "fused")
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    forms = {"gray": to_gray(image), "y": to_luma(colour), "y_shave4": to_luma(colour)[4:-4, 4:-4]}
    for variant, form in forms.items():
        spread = golden["gray" if variant == "y" else variant]["reference_spread"]["values"][triple]
        tolerance = 1e-4 if spread < 1e-4 else max(1e-3, 2 * spread)
        assert compute(q_niqe, form) == pytest.approx(golden[variant]["values"][triple], rel=tolerance), variant


def test_rgb_mean_agrees_with_vifb(reference):
    values, read = reference
    triple = "msrs_00537D_PIAFusion"
    scores = fusion_scores(*(read(triple, kind) for kind in ("fused", "ir", "vi")), color="rgb_mean")
    for ours, metric, variant in (
        ("Q_MI", "Q_MI", "sum_nats_rgb_mean"),
        ("Q_AB/F", "Q_ABF", "rgb_mean"),
        ("Q_CV", "Q_CV", "rgb_mean"),
    ):
        assert scores[ours] == pytest.approx(values["metrics"][metric]["variants"][variant]["values"][triple], rel=5e-5)


def test_grey_levels_are_matlabs(reference):
    values, read = reference
    for triple in [*TRIPLES, *SLOW]:
        for kind, about in values["triples"][triple].items():
            if "sha256_gray" in about:
                assert hashlib.sha256(to_gray(read(triple, kind)).tobytes()).hexdigest() == about["sha256_gray"]


def test_luma_of_known_colours():
    """MATLAB's rgb2ycbcr: black 16, white 235, pure red 81, green 145, blue 41."""
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert to_luma(colours).tolist() == [[16, 235, 81, 145, 41]]


@pytest.fixture(scope="module")
def scene():
    scene = SceneSource(1, 5, 200, 208)[0]
    return scene.visible, scene.infrared


@pytest.fixture(scope="module")
def base(scene):
    visible, infrared = scene
    fused = np.maximum(visible, infrared[..., None])
    return fused, fusion_scores(fused, infrared, visible)


def test_names_and_batches(scene, base):
    visible, infrared = scene
    fused, scores = base
    assert list(scores) == ["Q_MI", "Q_AB/F", "Q_CV", "Q_SCD", "Q_VIF", "Q_NIQE", "Q_SF", "EN", "SD", "AG"]
    assert all(np.isfinite(value) for value in scores.values())
    grey = [to_gray(x) for x in (fused, infrared, visible)]
    with precision():
        batch = jax.jit(q_vif)(*(np.stack([x, x[::-1]]) for x in grey))
    assert float(batch[0]) == pytest.approx(scores["Q_VIF"], rel=1e-9)
    assert float(batch[1]) != pytest.approx(scores["Q_VIF"], rel=1e-9)


def test_identical_images_give_the_best_values(scene):
    grey = to_gray(scene[0])
    scores = fusion_scores(grey, grey, grey)
    assert scores["Q_MI"] == pytest.approx(2 * scores["EN"] * np.log(2))
    assert scores["Q_AB/F"] == pytest.approx(0.9754, abs=2e-3) and scores["Q_CV"] == 0
    assert scores["Q_VIF"] == pytest.approx(1, abs=1e-6) and scores["Q_SCD"] == 0


def test_a_shift_by_one_pixel_costs(scene, base):
    visible, infrared = scene
    fused, scores = base
    shifted = fusion_scores(np.roll(fused, 1, axis=1), infrared, visible)
    assert shifted["Q_AB/F"] < scores["Q_AB/F"] and shifted["Q_VIF"] < scores["Q_VIF"]
    assert shifted["Q_CV"] > scores["Q_CV"] and shifted["Q_MI"] < scores["Q_MI"]
    assert shifted["Q_SCD"] < scores["Q_SCD"]


def test_constant_images(scene):
    visible, infrared = scene
    flat = np.full_like(visible, 90)
    scores = fusion_scores(flat, infrared, visible)
    assert scores["Q_MI"] == scores["Q_SF"] == scores["EN"] == scores["SD"] == scores["AG"] == 0
    assert scores["Q_AB/F"] < 0.05 and np.isnan(scores["Q_NIQE"])
    everything = fusion_scores(flat, flat[..., 0], flat)
    assert everything["Q_SCD"] == 0 and np.isfinite(everything["Q_AB/F"])


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (41, 41), (40, 97)])
def test_tiny_images(size):
    rng = np.random.default_rng(0)
    fused, visible = (rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))
    scores = fusion_scores(fused, rng.integers(0, 256, size, np.uint8), visible)
    assert np.isfinite(scores["Q_MI"]) and np.isnan(scores["Q_NIQE"])
    assert np.isfinite(scores["Q_VIF"]) == (min(size) >= 41)
    assert np.isfinite(scores["AG"]) == (min(size) > 1)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"fused": np.full((8, 8), np.nan)}, "fused is float64"),
        ({"visible": np.zeros((8, 9, 3), np.uint8)}, "visible has 8x9"),
        ({"infrared": np.zeros((8, 8, 2), np.uint8)}, "infrared is uint8"),
        ({"infrared": np.zeros((8, 8), np.uint16)}, "uint16"),
    ],
)
def test_other_than_8_bit_images_of_one_size_are_refused(change, words):
    images = {name: np.zeros((8, 8), np.uint8) for name in ("fused", "infrared", "visible")}
    with pytest.raises(ValueError, match=words):
        fusion_scores(**{**images, **change})
    with pytest.raises(ValueError, match="gray, rgb_mean"):
        fusion_scores(**images, color="rgb")


def test_perceptual_index_joins_niqe_and_the_forests(scene, base):
    """With forests that always answer 8 it is (10 - 8 + NIQE of the cut luma) / 2."""
    fused, scores = base
    model = types.SimpleNamespace(score=lambda features: 8.0)
    luma = to_luma(fused)[4:-4, 4:-4]
    assert pi_score(fused, model) == pytest.approx(1 + compute(q_niqe, luma) / 2)
    with_pi = fusion_scores(fused, fused[..., 0], fused, nrqm_model=model)
    assert with_pi["Q_PI"] == pi_score(fused, model) and list(with_pi)[6] == "Q_PI"
    assert "Q_PI" not in scores
    for undefined in (fused[:60], fused[:5, :5], np.full_like(fused, 7)):
        assert np.isnan(pi_score(undefined, model))


def test_unknown_variants_are_refused():
    image = np.zeros((1, 8, 8))
    for function in (partial(q_mi, "x"), partial(q_vif, "x"), partial(q_abf, "x")):
        with pytest.raises(ValueError, match="use one of"):
            function(image, image, image)
    with pytest.raises(ValueError, match="use one of"):
        q_sf(image, "x")


def test_means_leave_out_what_is_undefined():
    found = means({"a": {"x": 1.0, "y": np.nan}, "b": {"x": 3.0, "y": 5.0}, "c": {"z": np.nan, "y": np.inf}})
    assert found == {"x": 2.0, "y": 5.0}
