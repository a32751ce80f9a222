"""NRQM: features against the authors' code, forests and model files against small ones made by hand."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from iassf_jax.errors import UserError
from iassf_jax.metrics import nrqm_features
from iassf_jax.metrics.color import to_gray, to_luma
from iassf_jax.metrics.nrqm import ForestModel, features, nrqm, perceptual_index

MODEL = "IASSF_JAX_NRQM_MODEL"
GOLDEN_IMAGES = [
    ("y_shave4", "tno_08_DenseFuse"),
    ("y_shave4", "tno_35_IFCNN"),
    ("y_shave4", "nr_I04"),
    ("y_shave4", "road_037_PIAFusion"),
    ("gray", "tno_08_DenseFuse"),
    ("gray", "nr_I04"),
]


def golden_values(golden):
    return json.loads((golden / "metrics" / "golden_metrics.json").read_text())


def golden_image(golden, kind, name):
    """The grey image or, for `y_shave4`, luma without 4 pixels on each side."""
    values = golden_values(golden)
    entry = values["nr_images"][name] if name in values["nr_images"] else values["triples"][name]["fused"]
    image = cv2.imread(str(golden / "metrics" / entry["file"]), cv2.IMREAD_UNCHANGED)
    rgb = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., ::-1]
    return to_gray(rgb) if kind == "gray" else to_luma(rgb)[4:-4, 4:-4]


def texture(*shape, seed=0):
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), 2)
    return np.clip(128 + 300 * smooth + rng.normal(0, 5, shape), 0, 255).astype(np.uint8)


# Features


@pytest.mark.parametrize(("kind", "name"), GOLDEN_IMAGES)
def test_features_are_the_authors(golden, kind, name):
    """Each number to 1e-9 of itself; measured: at most 1.2e-11 (f1), 1e-12 (f2), 5e-12 (f3) with 12 digits given.

    The shapes, multiples of 0.001, are the same ones.
    """
    expected = golden_values(golden)["metrics"]["Q_PI"]["nrqm_features"]["values"][kind][name]
    ours = features(golden_image(golden, kind, name))
    for group, values in zip(("f1", "f2", "f3"), ours, strict=True):
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, expected[group], rtol=1e-9, err_msg=group)


@pytest.mark.parametrize("shape", [(84, 84), (85, 131), (97, 90)])
def test_features_of_small_images(shape):
    lengths = [len(f) for f in features(texture(*shape)) if np.isfinite(f).all()]
    assert lengths == [18, 45, 75]


def test_stripes_have_empty_bands_yet_features():
    """Bands without any energy get the flattest shape (10), stably, since their rounding noise is not normalised."""
    stripes = np.tile((np.arange(120) % 8 < 4).astype(np.uint8) * 200, (100, 1))
    _, f2, _ = features(stripes)
    assert np.isfinite(f2).all()
    assert f2[3] == f2[9] == 10  # bands across the stripes


def test_images_without_a_value():
    noise = texture(90, 90)
    chessboard = (np.indices((90, 90)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for image, complaint in [
        (np.full((90, 90), 7, np.uint8), "constant"),
        (chessboard, "empty"),
        (noise[:83], "at least 84x84 pixels, got 90x83"),
        (noise / 255, "uint8"),
        (np.stack([noise] * 3, axis=-1), "uint8"),
    ]:
        with pytest.raises(UserError, match=complaint):
            features(image)


def test_patches_are_cosine_transforms():
    """7x7 patches every 3 pixels, black outside; 91 columns are padded to 93."""
    image = texture(90, 91) / 255.0
    padded = np.pad(image, ((2, 2), (2, 4)))
    patches = nrqm_features._dct_patches(image)
    assert patches.shape == (30 * 31, 49)
    k = np.arange(7)[:, None]
    basis = np.cos(np.pi * (2 * np.arange(7) + 1) * k / 14) * np.sqrt(np.where(k == 0, 1, 2) / 7)
    for row, column in [(0, 0), (4, 7), (29, 30)]:
        expected = basis @ padded[3 * row : 3 * row + 7, 3 * column : 3 * column + 7] @ basis.T
        np.testing.assert_allclose(patches[31 * row + column].reshape(7, 7), expected, atol=1e-12)


def test_wedges_part_the_ac_coefficients():
    wedges = nrqm_features._wedges()
    assert [len(w) for w in wedges] == [16, 16, 16]
    assert sorted(np.concatenate(wedges)) == list(range(1, 49))


@pytest.mark.parametrize(("sample", "shape"), [("normal", 2), ("laplace", 1)])
def test_shape_of_known_distributions(sample, shape):
    samples = getattr(np.random.default_rng(0), sample)(0, 30, (2, 400_000))
    np.testing.assert_allclose(nrqm_features._ggd_shapes(samples), shape, atol=0.01)


def test_shape_is_the_nearest_of_the_table():
    shapes, table = nrqm_features._SHAPES, nrqm_features._RATIOS
    ratios = np.concatenate([[0, 1.2, 1e9], np.random.default_rng(0).uniform(1.3, 20, 200), table[[0, 1, 5000, -1]]])
    expected = shapes[np.abs(table - ratios[:, None]).argmin(axis=1)]
    np.testing.assert_array_equal(nrqm_features._nearest_shapes(ratios), expected)


def test_pyramid_keeps_the_energy():
    """Squares of all masks add up to 1: high-pass, the bands of both levels and what lies below them."""
    size = 96
    image = cv2.GaussianBlur(texture(size, size), (0, 0), 1).astype(float)  # nothing at Nyquist, which real() halves
    pyramid = nrqm_features._steerable_pyramid(image)
    fine, coarse = pyramid.levels
    assert (fine.shape, coarse.shape) == ((6, size, size), (6, size // 2, size // 2))
    spectrum = np.abs(np.fft.fft2(image)) ** 2 / size**2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))) * 2
    octave = np.log2(np.maximum(frequency, 1e-9)) + 2
    below = np.where(octave <= -1, 1, np.where(octave >= 0, 0, np.cos(np.pi / 2 * (octave + 1)) ** 2))
    # Half the size: an unnormalised spectrum of a quarter of the pixels, so a quarter of the energy times four squared.
    energy = (pyramid.high**2).sum() + (fine**2).sum() + (coarse**2).sum() / 4 + (spectrum * below).sum()
    np.testing.assert_allclose(energy, (image**2).sum(), rtol=1e-5)


def test_bands_answer_to_their_direction():
    """A wave along x is strongest in the first orientation and absent from the fourth, at right angles to it."""
    x = np.arange(96)
    image = 100 + 50 * np.tile(np.sin(2 * np.pi * x / 4), (96, 1))
    energy = (nrqm_features._steerable_pyramid(image).levels[0] ** 2).sum(axis=(1, 2))
    assert energy.argmax() == 0
    assert energy[3] < 1e-20 * energy[0]
    np.testing.assert_allclose(energy[[1, 2]], energy[[5, 4]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 26), (39, 25)])
def test_enlarging_is_exact_inside_for_a_parabola(shape):
    """Cubic convolution reproduces polynomials up to degree 2 away from the border."""
    y, x = ((np.arange(n) + 0.5) / n for n in (20, 13))
    large_y, large_x = ((np.arange(n) + 0.5) / n for n in shape)
    ours = nrqm_features._resize(3 * y[:, None] ** 2 - x * y[:, None] + x, shape)
    expected = 3 * large_y[:, None] ** 2 - large_x * large_y[:, None] + large_x
    np.testing.assert_allclose(ours[4:-4, 4:-4], expected[4:-4, 4:-4], rtol=1e-12)


def test_singular_values_of_blocks():
    image = np.random.default_rng(0).random((52, 63))
    padded = np.pad(image, ((0, 3), (0, 2)))
    blocks = [padded[y : y + 5, x : x + 5].ravel() for x in range(0, 65, 5) for y in range(0, 55, 5)]
    ours = nrqm_features._singular_values(image)
    assert np.all(np.diff(ours) <= 0)
    np.testing.assert_allclose(ours**2, np.linalg.eigvalsh(np.transpose(blocks) @ blocks)[::-1], rtol=1e-9)


# Forests


def forest(variable=1, **changes):
    """Two trees: 10 if x <= 0.5 else (20 if x2 <= 3 else 30), and 4 always."""
    fields = {
        "lDau": [[2, 0], [0, 0], [4, 0], [0, 0], [0, 0], [0, 0]],
        "rDau": [[3, 0], [0, 0], [5, 0], [0, 0], [0, 0], [0, 0]],
        "mbest": [[variable, 0], [0, 0], [variable + 1, 0], [0, 0], [0, 0], [0, 0]],
        "upper": [[0.5, 0], [0, 0], [3.0, 0], [0, 0], [0, 0], [0, 0]],
        "avnode": [[15, 4], [10, 0], [25, 0], [20, 0], [30, 0], [0, 0]],
    }
    arrays = {k: np.array(v, np.float64 if k in ("upper", "avnode") else np.int32) for k, v in fields.items()}
    status = np.full((6, 2), chr(0xFDFF))  # as MATLAB has it: two signed bytes in a character
    return arrays | {"nodestatus": status, "nrnodes": 6.0, "coef": np.zeros((2, 1))} | changes


def cell(*items):
    array = np.empty((len(items), 1), object)
    array[:, 0] = items
    return array


def save(path, forests=None, linear=(1.0, 0.5, 0.25, 2.0), **more):
    forests = forests or [forest(), forest(44), forest(74)]
    model = {"rf": cell(*forests), "linear": np.reshape(linear, (-1, 1))}
    scipy.io.savemat(path, {"model": model} | more)
    return path


def feature_vectors():
    return np.zeros(18), np.zeros(45), np.zeros(75)


def test_score_by_hand(tmp_path):
    """At 0.5 to the left; forests answer (10 + 4) / 2 = 7, (20 + 4) / 2 = 12 and (30 + 4) / 2 = 17."""
    model = ForestModel.load(save(tmp_path / "model.mat"))
    f1, f2, f3 = feature_vectors()
    f1[0] = 0.5
    f2[43], f2[44] = 0.6, 3.0
    f3[73], f3[74] = 0.6, 3.1
    assert model.score((f1, f2, f3)) == 1 + 0.5 * 7 + 0.25 * 12 + 2 * 17


def test_score_with_bias_correction(tmp_path):
    corrected = forest(coef=np.array([[1.0], [3.0]]))
    model = ForestModel.load(save(tmp_path / "model.mat", [corrected, forest(), forest()]))
    assert model.score(feature_vectors()) == 1 + 0.5 * (1 + 3 * 7) + 0.25 * 7 + 2 * 7


def test_layouts_of_the_file_do_not_matter(tmp_path):
    """Compressed, indices as doubles, `linear` as a row; then the forests as an array of structs, leaves with noise."""
    path = tmp_path / "model.mat"
    doubles = {k: v.astype(np.float64) if k in ("lDau", "rDau", "mbest") else v for k, v in forest().items()}
    linear = np.array([1, 0.5, 0.25, 2])
    scipy.io.savemat(path, {"linear": linear, "rf": [doubles] * 3}, do_compression=True)
    assert ForestModel.load(path).score(feature_vectors()) == 1 + 2.75 * 7
    noisy = changed("mbest", 1, 99)
    structs = np.array([tuple(noisy.values())] * 3, dtype=[(name, object) for name in noisy])
    scipy.io.savemat(path, {"a": "text", "b": {"c": {"linear": linear}, "d": structs}})
    assert ForestModel.load(path).score(feature_vectors()) == 1 + 2.75 * 7


def test_big_random_forest_against_a_plain_walk(tmp_path):
    rng = np.random.default_rng(0)
    nodes, trees = 63, 40
    left, right = np.zeros((2, nodes, trees), np.int32)
    left[:31], right[:31] = 2 * np.arange(1, 32)[:, None], 2 * np.arange(1, 32)[:, None] + 1
    fields = {"lDau": left, "rDau": right, "mbest": rng.integers(1, 19, (nodes, trees)).astype(np.int32)}
    fields |= {"upper": rng.random((nodes, trees)), "avnode": rng.random((nodes, trees))}
    model = ForestModel.load(save(tmp_path / "model.mat", [fields, forest(), forest()], (0, 1, 0, 0)))
    x = rng.random(18)
    leaves = []
    for tree in range(trees):
        node = 1
        while left[node - 1, tree]:
            goes_left = x[fields["mbest"][node - 1, tree] - 1] <= fields["upper"][node - 1, tree]
            node = (left if goes_left else right)[node - 1, tree]
        leaves.append(fields["avnode"][node - 1, tree])
    assert model.score((x, *feature_vectors()[1:])) == pytest.approx(np.mean(leaves), rel=1e-12)


def test_nrqm_and_perceptual_index(tmp_path):
    model = ForestModel.load(save(tmp_path / "model.mat"))
    image = texture(90, 100)
    assert nrqm(image, model) == model.score(features(image))
    assert perceptual_index(niqe=4.0, nrqm=8.5) == 2.75


def test_score_refuses_other_lengths(tmp_path):
    model = ForestModel.load(save(tmp_path / "model.mat"))
    with pytest.raises(UserError, match="18, 45, 75"):
        model.score(feature_vectors()[::-1])


# Damaged files


def changed(field, node, value):
    array = forest()[field].copy()
    array[node, 0] = value
    return forest(**{field: array})


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (changed("lDau", 0, 7), "forest 1 has a child outside 1..6"),
        (changed("rDau", 0, -2), "forest 1 has a child outside"),
        (changed("rDau", 2, 0), "forest 1 has a child outside"),
        (changed("lDau", 2, 1), "before its parent"),
        (changed("rDau", 2, 3), "before its parent"),
        (changed("mbest", 0, 19), "splits by a feature outside 1..18"),
        (changed("mbest", 2, 0), "splits by a feature outside 1..18"),
        (changed("upper", 0, np.nan), "not finite"),
        (forest(avnode=np.zeros((6, 1))), "differ in shape"),
        (forest(upper=cell("a")), "'upper' does not hold numbers"),
        (forest(lDau=np.full((6, 2), 0.5)), "else than indices"),
        (forest(lDau=np.full((6, 2), 2.0**40)), "else than indices"),
        (forest(coef=np.ones(3)), "'coef'"),
        ({k: np.zeros((0, 2)) for k in ("lDau", "rDau", "mbest", "upper", "avnode")}, "empty"),
    ],
)
def test_damaged_forests(tmp_path, bad, complaint):
    path = save(tmp_path / "model.mat", [bad, forest(), forest()])
    assert_refused(path, complaint)


def test_wrong_contents(tmp_path):
    path = tmp_path / "model.mat"
    assert_refused(save(path, [forest(), forest()]), "2 forests and 1 fields 'linear'")
    assert_refused(save(path, linear=(1, 2, 3)), "'linear' holds 3 numbers")
    assert_refused(save(path, linear=(1, 2, 3, np.inf)), "'linear' holds a number that is not finite")
    scipy.io.savemat(path, {"a": np.ones(3)})
    assert_refused(path, "0 forests and 0 fields")


def test_bytes_that_changed_on_the_way(tmp_path):
    """No crash and no other exception: either the change does no harm or it is reported."""
    path = save(tmp_path / "model.mat")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        try:
            ForestModel.load(path).score(feature_vectors())
        except UserError:
            refused += 1
    assert refused > 50


def test_files_that_are_none(tmp_path):
    path = tmp_path / "model.mat"
    assert_refused(path, "cannot read")
    assert_refused(tmp_path, "cannot read")
    whole = save(tmp_path / "whole.mat").read_bytes()
    for content in (b"", b"not a MATLAB file " * 20, whole[:300], whole[: len(whole) // 2], whole[:128]):
        path.write_bytes(content)
        assert_refused(path, "model.mat")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    assert_refused(path, "v7.3")


def assert_refused(path, complaint):
    with pytest.raises(UserError) as error:
        ForestModel.load(path)
    message = str(error.value)
    assert complaint in message
    assert str(path) in message
    assert "\n" not in message


# Published scores


@pytest.fixture
def authors_model():
    if MODEL not in os.environ:
        pytest.skip(f"set {MODEL} to the model.mat of github.com/chaoma99/sr-metric")
    return ForestModel.load(Path(os.environ[MODEL]))


@pytest.mark.parametrize("name", ["nr_I04", "nr_I06", "nr_I19"])
def test_published_nrqm(golden, authors_model, name):
    """Another implementation of the features is within 0.009 of the published values."""
    published = golden_values(golden)["metrics"]["Q_PI"]["variants"]["published_nrqm"]["values"]
    assert nrqm(golden_image(golden, "gray", name), authors_model) == pytest.approx(published[name], abs=0.01)


@pytest.mark.parametrize("name", ["nr_I04", "nr_I06"])
def test_published_perceptual_index(golden, authors_model, name):
    """With the reference NIQE of the same input (nr_I19 has none: flat areas make it differ by 5 %)."""
    metrics = golden_values(golden)["metrics"]
    niqe = metrics["Q_NIQE"]["variants"]["y_shave4"]["values"][name]
    ours = perceptual_index(niqe, nrqm(golden_image(golden, "y_shave4", name), authors_model))
    assert ours == pytest.approx(metrics["Q_PI"]["variants"]["published_pi"]["values"][name], abs=0.01)
