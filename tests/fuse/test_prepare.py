"""What becomes of a pair before a network sees it: raw data, visible images of few bits, floats, borders."""

import warnings

import cv2
import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.clip import prepare_clip
from iassf_jax.fuse.prepare import Preparation, prepare_pair
from image_files import sample
from stub_fuser import StubFuser

INFRARED = cv2.normalize(cv2.GaussianBlur(sample((48, 64)), (0, 0), 3), None, 5, 250, cv2.NORM_MINMAX)
VISIBLE = cv2.GaussianBlur(sample((48, 64, 3), seed=1), (0, 0), 3)
NOTHING = np.zeros((48, 64, 3), np.uint8)


def correlation(a, b):
    return np.corrcoef(np.asarray(a, float).ravel(), np.asarray(b, float).ravel())[0, 1]


def noted(*pair, **how):
    notes = []
    return prepare_pair(*pair, Preparation(**how), notes), [note.about for note in notes]


def test_images_of_8_bits_pass_untouched():
    dull = INFRARED // 8 + 60
    for infrared in (INFRARED, dull, INFRARED.astype(np.uint16) * 257):
        (visible, passed, border), notes = noted(VISIBLE, infrared)
        np.testing.assert_array_equal(visible, VISIBLE)
        np.testing.assert_array_equal(passed, infrared)
        assert passed.dtype == infrared.dtype and border is None and notes == []


@pytest.mark.parametrize("low, high", [(29315, 30815), (51021, 52421), (7000, 7400)])
def test_raw_data_are_seen_and_told(low, high):
    raw = np.rint(low + INFRARED / 255 * (high - low)).astype(np.uint16)
    raw[:, 5] = 65535
    (_, infrared, _), notes = noted(VISIBLE, raw)
    rest = np.arange(64) != 5
    assert infrared.dtype == np.float32 and correlation(infrared[:, rest], INFRARED[:, rest]) > 0.99
    assert len(notes) == 1 and "--infrared-percentiles none" in notes[0]
    with pytest.warns(UserWarning, match=r"raw thermal data .* \(.* of uint16\)"):
        fused = StubFuser()(NOTHING, raw).fused
    assert correlation(fused[:, rest, 0], INFRARED[:, rest]) > 0.99
    (_, kept, _), notes = noted(VISIBLE, raw, infrared_percentiles=None)
    assert kept is not None and (kept == raw).all() and notes == []


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_visible_images_of_few_bits_keep_black_and_the_mean(bits):
    stored = np.rint(VISIBLE.astype(float) / 255 * (2**bits - 1)).astype(np.uint16)
    (visible, _, _), notes = noted(stored, INFRARED)
    np.testing.assert_allclose(visible, VISIBLE / 255, atol=2**-bits)
    assert len(notes) == 1 and "--visible-percentiles none" in notes[0]
    assert (noted(stored, INFRARED, visible_percentiles=None)[0].visible == stored).all()


def test_visible_percentiles_stretch_all_channels_alike():
    (visible, _, _), notes = noted(VISIBLE, INFRARED, visible_percentiles=(0, 100))
    low, high = VISIBLE.min(), VISIBLE.max()
    np.testing.assert_allclose(visible, (VISIBLE - float(low)) / (high - low), atol=1e-6)
    assert notes == []


def test_temperatures_want_percentiles_and_say_so():
    celsius = (10 + INFRARED / 255 * 20).astype(np.float32)
    with pytest.raises(UserError, match=r"infrared: .*runs from 10.* to .*--infrared-percentiles 1 99") as error:
        prepare_pair(VISIBLE, celsius)
    assert "\n" not in str(error.value)
    (_, infrared, _), _ = noted(VISIBLE, celsius, infrared_percentiles=(0, 100))
    np.testing.assert_allclose(infrared, (celsius - celsius.min()) / np.ptp(celsius), atol=1e-5)
    with pytest.raises(UserError, match=r"visible: .*--visible-percentiles 1 99"):
        prepare_pair(VISIBLE.astype(np.int32), INFRARED)
    assert noted(VISIBLE.astype(np.int32), INFRARED, visible_percentiles=(0, 100))[0].visible.max() == 1


def test_a_border_gets_no_weight():
    framed = np.full_like(INFRARED, 255)
    framed[6:-6, 6:-6] = INFRARED[6:-6, 6:-6]
    (_, infrared, border), notes = noted(VISIBLE, framed)
    assert len(notes) == 1 and "--infrared-border keep" in notes[0]
    assert border[:6].all() and not border[9:-9, 9:-9].any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = StubFuser()(VISIBLE, framed)
        batch = StubFuser()(np.stack([VISIBLE, VISIBLE]), np.stack([framed, INFRARED]))
    np.testing.assert_array_equal(result.fused[border], VISIBLE[border])
    np.testing.assert_array_equal(result.fused[20, 20], np.rint((VISIBLE[20, 20] + INFRARED[20, 20].astype(float)) / 2))
    np.testing.assert_array_equal(batch.fused[0], result.fused)
    np.testing.assert_array_equal(batch.fused[1], StubFuser()(VISIBLE, INFRARED).fused)
    kept, notes = noted(VISIBLE, framed, infrared_border="keep")
    assert kept.border is None and notes == [] and (kept.infrared == framed).all()


def test_a_border_does_not_count_in_the_stretch_and_is_resized():
    raw = np.zeros(INFRARED.shape, np.uint16)
    raw[6:-6, 6:-6] = 7000 + INFRARED[6:-6, 6:-6].astype(int)
    (_, infrared, border), notes = noted(np.zeros((96, 128, 3), np.uint8), raw, resize_infrared=True)
    assert len(notes) == 2 and infrared.shape == border.shape == (96, 128)
    inside = cv2.resize(infrared, (64, 48), interpolation=cv2.INTER_AREA)[8:-8, 8:-8]
    assert correlation(inside, INFRARED[8:-8, 8:-8]) > 0.99 and np.ptp(inside) > 0.8
    assert border[:12].all() and not border[20:-20, 20:-20].any()


def test_batches_of_raw_and_other_images():
    raw = (7000 + INFRARED.astype(int)).astype(np.uint16)
    whole = INFRARED.astype(np.uint16) * 257
    with pytest.warns(UserWarning, match="raw thermal"):
        batch = StubFuser()(np.stack([NOTHING, NOTHING]), np.stack([raw, whole]))
    np.testing.assert_array_equal(batch.fused[1][..., 0], np.rint(INFRARED / 2))
    assert correlation(batch.fused[0][..., 0], INFRARED) > 0.99


@pytest.mark.parametrize(
    "how", [{"infrared_border": "drip"}, {"visible_percentiles": (3,)}, {"infrared_percentiles": "x"}]
)
def test_what_cannot_be_prepared(how):
    with pytest.raises(UserError, match="use one of|give two numbers"):
        Preparation(**how)


def clip(heats, how=None):
    notes = []
    frames = [(NOTHING, heat) for heat in heats]
    return [pair.infrared for pair in prepare_clip(iter(frames), how or Preparation(), notes)], notes


def test_a_clip_has_one_stretch_and_does_not_pump():
    """Something hot comes into view: the rest stays as bright as it was."""
    raw = (7000 + INFRARED / 255 * 330).astype(np.uint16)
    hot = raw.copy()
    hot[10:20, 10:30] = 9000
    frames, notes = clip([raw] * 12 + [hot] * 5)
    assert len(notes) == 1
    assert correlation(frames[0], INFRARED) > 0.99
    rest = np.ones(raw.shape, bool)
    rest[10:20, 10:30] = False
    np.testing.assert_array_equal(frames[0], frames[11])
    change = np.abs(frames[12] - frames[11])[rest].max()
    alone = np.abs(prepare_pair(NOTHING, hot, Preparation(), []).infrared - frames[11])[rest].max()
    assert change < 0.01 < 0.5 < alone
    assert np.abs(frames[-1] - frames[11])[rest].max() < 0.05
    eight, notes = clip([INFRARED] * 3)
    assert notes == [] and all((frame == INFRARED).all() for frame in eight)


def test_a_clips_percentiles_follow_a_drift():
    frames, _ = clip(
        [INFRARED.astype(np.uint16) * 40 + 20 * i for i in range(300)], Preparation(infrared_percentiles=(1, 99))
    )
    means = [frame.mean() for frame in frames]
    assert 0.01 < means[20] - means[0] < means[-1] - means[0] < 0.2  # without it, the clip would end white
    assert abs(means[-1] - means[-30]) < 0.01


def test_a_clips_stretch_begins_after_even_frames():
    raw, even = 7000 + INFRARED.astype(np.uint16), np.full(INFRARED.shape, 7000, np.uint16)
    even[0, 0], even[5, 5] = 0, 65535
    for count in (6, 9, 16, 19):
        frames, notes = clip([even] * count + [raw] * 20)
        assert len(frames) == count + 20 and [note.about[:16] for note in notes] == ["raw thermal data"]
        assert all(np.array_equal(frame, frames[count]) for frame in frames[count:])
        assert np.ptp(frames[count]) == 1
    given, _ = clip([even] * 9 + [raw] * 2, Preparation(infrared_percentiles=(1, 99)))
    assert np.ptp(given[-1]) == 1
    wide = np.uint16(INFRARED) * 250
    frames, notes = clip([even] * 9 + [wide] * 8 + [raw] * 20)
    assert notes == [] and frames[-1].dtype == np.uint16
    frames, notes = clip([even] * 20)
    assert notes == [] and len(frames) == 20


def test_a_clip_the_wrong_way_round_is_refused():
    with pytest.raises(UserError, match="swap them"):
        next(prepare_clip(iter([(INFRARED, VISIBLE)] * 3), Preparation(), []))
    first, *_ = prepare_clip(iter([(VISIBLE, VISIBLE)] * 3), Preparation(), [])  # false colours
    assert first.infrared.shape == VISIBLE.shape[:2]


def test_a_border_of_a_clip_is_what_all_its_first_frames_have():
    framed = np.zeros_like(INFRARED)
    framed[:, 8:] = INFRARED[:, 8:]
    how, notes = Preparation(), []
    pairs = list(prepare_clip(iter([(NOTHING, framed)] * 4), how, notes))
    assert len(notes) == 1 and all(pair.border[:, :8].all() for pair in pairs)
    pairs = list(prepare_clip(iter([(NOTHING, framed), (NOTHING, INFRARED)]), how, []))
    assert all(pair.border is None for pair in pairs)
    assert list(prepare_clip(iter([]), how, [])) == []


def test_real_wedges_leave_the_dehazed_image(real_data):
    visible = images.read_visible(real_data / "m3fd/vi/01017.webp")
    infrared = images.read_infrared(real_data / "m3fd/ir/01017.png")
    with pytest.warns(UserWarning, match="border without heat"):
        fused = StubFuser()(visible, infrared).fused
    np.testing.assert_array_equal(fused[400:, -6:], visible[400:, -6:])
    old = StubFuser()(visible, infrared, infrared_border="keep").fused
    np.testing.assert_array_equal(old[600, 1022], np.rint(visible[600, 1022] / 2))


def test_a_codec_s_colours_in_a_grey_video_are_none():
    rng = np.random.default_rng(0)
    grey = np.repeat(np.full((48, 64, 1), 120), 3, axis=2)
    thermal = np.uint8(grey + rng.integers(-2, 3, grey.shape))
    camera = np.uint8(grey + 40 * rng.integers(0, 2, (48, 64, 1)) * [1, 0, -1])
    with pytest.raises(UserError, match="swap them"):
        prepare_pair(thermal, camera)
    fog = np.uint8(np.full((48, 64, 3), [200, 201, 203]))
    for visible in (camera, fog):
        prepare_pair(visible, thermal)


def test_a_dark_grey_video_s_tint_and_noise_are_no_colours():
    rng = np.random.default_rng(0)
    grey = rng.integers(10, 30, (64, 80, 1)) + np.zeros((1, 1, 3), int)
    black = np.zeros((64, 80, 3), np.uint8)
    for thermal in (grey + [1, -2, 1], grey + rng.integers(-2, 3, grey.shape)):
        prepare_pair(black, np.uint8(thermal))
    with pytest.raises(UserError, match="swap them"):
        prepare_pair(np.uint8(grey + [1, -2, 1]), np.uint8(grey + [0, 4, 10]))
