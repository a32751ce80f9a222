"""`train`, `eval`, `experiment` and `configs`: every mistake is one line that names what there is."""

import importlib
from pathlib import Path

import pytest

from iassf_jax.cli.flags import SHIPPED, load_config, shipped_configs
from iassf_jax.cli.main import COMMANDS, FLAG_COMMANDS, _parser, main
from iassf_jax.errors import UserError


def leave(capsys, *argv):
    """Exit code (or message) and stdout of a command."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in argv])
    return left.value.code, capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize(
    "argv, words",
    [
        (["train"], "which config? Give --config"),
        (["eval"], "which network? Give --checkpoint"),
        (["train", "--config", "msrss"], "config msrss: there is no such file: did you mean msrs?"),
        (["train", "--config", "configs/msrss.py"], "did you mean msrs?"),
        (["train", "--config", "zzz"], "give a file, or one of"),
        (["train", "--config", "quickstart", "--config.train.stepz=5"], "did you mean --config.train.steps?"),
        (["train", "--config.train.stepz=5", "--config=quickstart"], "there is no stepz in --config.train"),
        (["train", "--config=quickstart", "--config.trian.steps=5"], "did you mean --config.train?"),
        (["train", "--config=quickstart", "--config.train.steps=many"], "--config"),
        (["train", "--config=quickstart", "--workdri=x"], "workdri"),
        (["train", "--config=quickstart", "x"], "unexpected argument 'x'"),
        (["eval", "--checkpoint", "x", "--split", "tset"], "split"),
        (["configs", "--copy", "msrss"], "did you mean msrs?"),
    ],
)
def test_mistakes_are_one_line(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out = leave(capsys, *argv)
    assert isinstance(code, str) and code.startswith("error: ") and words in code
    assert "\n" not in code and "\\'" not in code and not out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FLAG_COMMANDS)
def test_help_is_no_mistake(name, capsys):
    code, out = leave(capsys, name, "--help")
    assert code == 0 and "--config" in out and "--compilation_cache" in out


@pytest.mark.filterwarnings("ignore:the load_module")
@pytest.mark.parametrize("name, output", [("experiments/alpha", "alpha"), ("experiments/alpha:haze", "alpha_haze")])
def test_an_experiment_on_another_base_has_results_of_its_own(name, output, capsys, monkeypatch):
    told = []
    monkeypatch.setattr("iassf_jax.evaluate.experiments.run_experiment", lambda *where: told.append(where) or 0)
    monkeypatch.setattr("iassf_jax.runtime.set_up", lambda cache: None)
    leave(capsys, "experiment", "--config", name)
    assert told[0][2] == Path("results") / output


def test_every_option_of_every_command_is_explained():
    (commands,) = (action for action in _parser()._actions if action.choices and "fuse" in action.choices)
    for name in COMMANDS:
        for action in commands.choices[name]._actions:
            assert action.help, f"{name} {action.option_strings or action.dest}"


def test_defaults_are_shown(capsys):
    for name, defaults in {"scenes": ("(default: 16)", "(default: 0)"), "fuse": ("(default: iassf-haze)",)}.items():
        code, out = leave(capsys, name, "--help")
        assert code == 0 and all(default in " ".join(out.split()) for default in defaults)


def test_shipped_configs_are_listed_and_copied(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, listed = leave(capsys, "configs")
    assert [line.split()[0] for line in listed.splitlines()] == shipped_configs()
    assert leave(capsys, "configs", "--copy", "finetune")[0] is None
    assert (tmp_path / "finetune.py").read_bytes() == (SHIPPED / "finetune.py").read_bytes()
    assert "is there already" in leave(capsys, "configs", "--copy", "finetune")[0]


def test_configs_by_name_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("finetune").init_from == "iassf-haze"
    config = load_config("experiments/alpha:haze")
    assert config.is_locked and config.experiment.title == "Alpha" and config.model.working_size == 192
    with pytest.raises(UserError, match="did you mean finetune"):
        load_config("finetuen")


def test_the_version_is_told(capsys):
    package = importlib.import_module("iassf_jax")
    assert leave(capsys, "--version") == (0, f"iassf_jax {package.__version__}\n")
