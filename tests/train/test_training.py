"""The optimizer, the train step, and runs through the real loop."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import one_layer
import tiny
from configs import release
from conftest import TEST_DATA
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.models.parameters import check_tree
from iassf_jax.train import devices, loop
from iassf_jax.train import step as training
from iassf_jax.train.checkpoints import Checkpoints, load_weights
from iassf_jax.train.loop import num_steps, train_and_evaluate

OPTIM = tiny.get_config().optim.to_dict()


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """Optax's Adam mixes its step counter with floats; the network itself is tested strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_schedule_is_a_cosine_between_the_papers_rates():
    schedule = training.learning_rate_schedule(OPTIM, 54_000)
    assert schedule(0) == pytest.approx(2e-4)
    assert schedule(27_000) == pytest.approx((2e-4 + 2e-6) / 2)
    assert schedule(54_000) == pytest.approx(2e-6)


def test_warm_up_is_linear_and_the_end_stays():
    schedule = training.learning_rate_schedule({**OPTIM, "warmup_steps": 10}, 110)
    assert schedule(5) == pytest.approx(1e-4)
    assert schedule(10) == pytest.approx(2e-4)
    assert schedule(110) == pytest.approx(2e-6)


def test_an_epoch_of_one_rate_does_not_keep_warm_up_at_zero():
    schedule = training.learning_rate_schedule(
        {**OPTIM, "warmup_steps": 50, "schedule_every": "epoch"}, 1050, epoch=100
    )
    assert schedule(25) == pytest.approx(1e-4)
    assert schedule(50) == schedule(99) == pytest.approx(2e-4)
    assert schedule(100) == schedule(199) < schedule(99)
    assert schedule(1049) == pytest.approx(training.learning_rate_schedule({**OPTIM, "warmup_steps": 50}, 1050)(1000))


def test_one_update_by_hand():
    """AdamW's first step is lr * (sign(g) + decay * w): from w = 1 with g > 0 and from w = -1 with g < 0."""
    optimizer, _ = training.make_optimizer(OPTIM, 100)
    params, gradients = {"w": jnp.array([1.0, -1.0])}, {"w": jnp.array([0.5, -8.0])}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [-2e-4 * 1.01, 2e-4 * 1.01], rtol=1e-5)


def test_steps_are_those_of_pytorch():
    """Values of `data/make_adamw.py`: torch.optim.AdamW with its defaults, and CosineAnnealingLR stepped by epochs."""
    values = np.load(TEST_DATA / "adamw.npz")
    optimizer, _ = training.make_optimizer(release.get_config().optim, 10**9)  # the rate does not move in three steps
    params, state = {"w": jnp.asarray(values["start"])}, None
    state = optimizer.init(params)
    for gradient, expected in zip(values["gradients"], values["after"], strict=True):
        updates, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"], expected, rtol=3e-7, atol=2e-9)  # two units in the last place

    epoch = 180
    schedule = training.learning_rate_schedule(release.get_config().optim, 300 * epoch, epoch)
    for at in (0, epoch // 2, epoch - 1):
        rates = [float(schedule(e * epoch + at)) for e in range(0, 300, 7)]
        np.testing.assert_allclose(rates, values["rates"][::7], rtol=1e-4)


def test_clipping_limits_the_gradient():
    """Plain clipping does not show after one Adam step; the second sees a gradient 1/100 as large without it."""
    params = {"w": jnp.zeros(2)}

    def second_update(clip):
        optimizer, _ = training.make_optimizer({**OPTIM, "clip_norm": clip}, 100)
        state = optimizer.init(params)
        for gradient in ([300.0, 400.0], [3.0, 4.0]):
            updates, state = optimizer.update({"w": jnp.array(gradient)}, state, params)
        return updates["w"]

    np.testing.assert_allclose(second_update(5.0), -2e-4, rtol=1e-3)
    assert np.abs(second_update(0.0)).max() < 1.6e-4


@pytest.mark.parametrize("every", [1, 2])
def test_frozen_parameters_stay_to_the_bit_and_clipping_does_not_see_them(every):
    """The trained part moves as it would alone: huge gradients of the frozen part change neither."""
    rng = np.random.default_rng(0)
    params = {"params": {name: {"w": jnp.asarray(rng.normal(size=3), jnp.float32)} for name in ("body", "head")}}
    optim = {**OPTIM, "weight_decay": 0.5, "clip_norm": 1.0, "accumulate_steps": every}
    both, _ = training.make_optimizer({**optim, "trainable": ("head",)}, 100)
    alone, _ = training.make_optimizer(optim, 100)
    now, head = params, params["params"]["head"]
    state, state_alone = both.init(now), alone.init(head)
    for scale in (3.0, 0.2, 7.0, 0.1):
        gradient = {"w": jnp.asarray(scale * rng.normal(size=3), jnp.float32)}
        gradients = {"params": {"body": {"w": jnp.full(3, 1e4)}, "head": gradient}}
        updates, state = both.update(gradients, state, now)
        now = optax.apply_updates(now, updates)
        updates, state_alone = alone.update(gradient, state_alone, head)
        head = optax.apply_updates(head, updates)
        np.testing.assert_array_equal(now["params"]["head"]["w"], head["w"])
    np.testing.assert_array_equal(now["params"]["body"]["w"], params["params"]["body"]["w"])
    assert np.abs(head["w"] - params["params"]["head"]["w"]).min() > 1e-4


def test_where_nothing_is_frozen_the_state_is_adamws_alone():
    """Checkpoints hold it: its tree may not change."""
    optimizer, schedule = training.make_optimizer(OPTIM, 100)
    params = {"w": jnp.zeros(2)}
    assert jax.tree.structure(optimizer.init(params)) == jax.tree.structure(optax.adamw(schedule).init(params))


def test_accumulation_updates_every_other_step_with_the_mean():
    optimizer, schedule = training.make_optimizer({**OPTIM, "accumulate_steps": 2}, 100)
    params = {"w": jnp.array([1.0])}
    state = optimizer.init(params)
    first, state = optimizer.update({"w": jnp.array([4.0])}, state, params)
    second, state = optimizer.update({"w": jnp.array([-2.0])}, state, params)
    plain, _ = training.make_optimizer(OPTIM, 50)
    expected, _ = plain.update({"w": jnp.array([1.0])}, plain.init(params), params)
    assert first["w"] == 0.0
    np.testing.assert_allclose(second["w"], expected["w"], rtol=1e-5)
    assert schedule(0) == schedule(1) != schedule(2)


@pytest.mark.parametrize("steps, epochs, expected", [(0, 300, 54_000), (7, 300, 7)])
def test_number_of_steps(steps, epochs, expected):
    train = tiny.get_config().train
    train.update(steps=steps, epochs=epochs, batch_size=6)
    assert num_steps(train, 1083) == expected


def random_batch():
    rng = np.random.default_rng(0)
    channels = {"hazy": 3, "infrared": 1, "clear": 3}
    return {n: jnp.asarray(rng.uniform(-1, 1, (2, 16, 16, c)), jnp.float32) for n, c in channels.items()}


def step_of(names, **optim):
    """A model, its first state, and a train step of these modules alone."""
    model = build_model(tiny.get_config().model)
    optimizer, schedule = training.make_optimizer({**OPTIM, **optim, "trainable": names}, 100)
    state = training.init_state(model, optimizer, 0, keep_ema=True)
    settings = {"model": model, "optimizer": optimizer, "schedule": schedule, "ema_decay": 0.9}
    return state, functools.partial(training.train_step, **settings, trainable=names)


@pytest.mark.slow
def test_what_is_not_trainable_stays_and_costs_no_gradient():
    """Not even decayed; in a step of the last layers alone most of the products are those of the forward pass."""
    names = ("heads", "pgm_vi")
    state, step = step_of(names, learning_rate=1e-2, weight_decay=0.5)
    after = jax.jit(step)(state, random_batch())[0]
    for part in ("params", "ema"):
        before, now = (dict(jax.tree_util.tree_leaves_with_path(getattr(x, part))) for x in (state, after))
        for path, x in before.items():
            moved = np.any(x != now[path])
            assert moved == any(key.key in names for key in path), jax.tree_util.keystr(path)
    flops = [
        jax.jit(f).lower(s, random_batch()).cost_analysis()["flops"] for s, f in (step_of(("heads",)), step_of(()))
    ]
    assert flops[0] < 0.6 * flops[1]


def test_a_module_of_two_is_told_by_its_path():
    params = {"params": {"first": {"last": {"kernel": 0}}, "second": {"last": {"kernel": 0, "bias": 0}, "more": 0}}}
    chosen = training.trained(params, ("second/last",))
    assert chosen["params"]["second"] == {"last": {"kernel": True, "bias": True}, "more": False}
    assert not chosen["params"]["first"]["last"]["kernel"]
    with pytest.raises(UserError, match="the network has no first/more: use"):
        training.trained(params, ("first/more",))
    with pytest.raises(UserError, match="the network has no ond/last: use"):
        training.trained(params, ("ond/last",))


def test_a_module_that_is_not_there_cannot_be_trained():
    model = build_model(tiny.get_config().model)
    optimizer, _ = training.make_optimizer({**OPTIM, "trainable": ("encoder", "decoder")}, 100)
    with pytest.raises(UserError, match=r"the network has no decoder: use names of modules, as encoder, heads"):
        training.init_state(model, optimizer, 0, keep_ema=False)


@pytest.mark.slow
def test_steps_compile_once_lower_the_loss_and_average():
    model = build_model(tiny.get_config().model)
    optimizer, schedule = training.make_optimizer({**OPTIM, "learning_rate": 5e-3}, 100)
    state = training.init_state(model, optimizer, 0, keep_ema=True)
    batch = random_batch()
    settings = {"model": model, "optimizer": optimizer, "schedule": schedule, "ema_decay": 0.999}
    step = training.jit_train_step(devices.whole())
    before = step.jitted()._cache_size()
    losses, average = [], jax.tree.map(np.asarray, state.params)
    for n in range(6):
        state, metrics = step(state, batch, **settings)
        decay = (1 + n) / (10 + n)
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), average, state.params)
        losses.append(float(metrics["loss"]))
    assert step.jitted()._cache_size() == before + 1
    assert losses[-1] < 0.9 * losses[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.ema, average)
    assert metrics["learning_rate"] == pytest.approx(float(schedule(5)))
    terms = metrics["intensity"] + metrics["gradient"] + 2 * metrics["l1"]
    assert metrics["loss"] == pytest.approx(float(terms), rel=1e-6)


def test_the_average_counts_updates_not_the_batches_they_are_made_of():
    """Each batch twice, two of them an update, is each batch once."""
    averages = []
    for every in (1, 2):
        optimizer, schedule = training.make_optimizer({**OPTIM, "accumulate_steps": every}, 3 * every)
        state = training.init_state(model := one_layer.OneLayer(), optimizer, 0, keep_ema=True)
        settings = {"model": model, "optimizer": optimizer, "schedule": schedule, "accumulate_steps": every}
        for _ in range(3 * every):
            state, _ = training.jit_train_step(devices.whole())(state, random_batch(), ema_decay=0.9, **settings)
        averages.append(state.ema)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), *averages)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run: four steps, validation, checkpoints."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny.get_config()
    config.eval.every = 4
    config.train.ema_decay = 0.5
    return config, workdir, train_and_evaluate(config, workdir, profile_steps=1)


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(finished):
    config, workdir, state = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]
    assert {"train/gradient_norm", "train/learning_rate", "train/images_per_second"} <= lines[0].keys()
    assert {"val/psnr", "val/ssim", "val/psnr_hazy", "val/ssim_hazy"} <= lines[-1].keys()
    assert images.read_image(workdir / "samples" / "val_0000004.png").shape[0] == 240 + 22
    assert list((workdir / "tensorboard").glob("events.*"))
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    assert int(state.step) == 4
    weights, step = load_weights(workdir, state.params)
    assert step == 4
    jax.tree.map(np.testing.assert_array_equal, weights, state.ema)
    assert Checkpoints(workdir).latest_step() == 4


@pytest.mark.slow
def test_a_finished_run_ends_at_once_and_refuses_another_setting(finished):
    config, workdir, state = finished
    again = train_and_evaluate(config, workdir)
    jax.tree.map(np.testing.assert_array_equal, again.params, state.params)
    other = tiny.get_config()
    other.model.channels = 8
    with pytest.raises(UserError, match="model.channels was 4, is 8"):
        train_and_evaluate(other, workdir)
    other = tiny.get_config()
    other.train.ema_decay = 0.5
    other.data.num_workers = 2
    with pytest.raises(UserError, match="data.num_workers was 0, is 2"):
        train_and_evaluate(other, workdir)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "check_config", lambda config: None)  # which refuses such a rate
    config = tiny.get_config()
    config.optim.learning_rate = 1e30
    config.checkpoint.every = 1
    with pytest.raises(UserError, match=r"step \d: loss .*nan|inf.* scene0000\d, scene0000\d"):
        train_and_evaluate(config, tmp_path)
    kept = Checkpoints(tmp_path).latest_step()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept is not None and kept == lines[-1]["step"]


def test_misfit_weights_are_all_listed():
    expected = {"a": jnp.zeros((2, 3)), "b": {"c": jnp.zeros(1)}, "d": jnp.zeros(4)}
    found = {"a": jnp.zeros((3, 2)), "b": {"e": jnp.zeros(1)}, "d": jnp.zeros(4)}
    with pytest.raises(UserError) as error:
        check_tree(expected, found, "weights")
    message = str(error.value)
    assert "missing ['b']['c']" in message and "unexpected ['b']['e']" in message
    assert "['a'] has shape (3, 2), not (2, 3)" in message and "['d']" not in message


def test_missing_runs_are_said(tmp_path):
    with pytest.raises(UserError, match="--workdir of a training run"):
        load_weights(tmp_path, {})
