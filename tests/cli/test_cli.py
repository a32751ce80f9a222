"""The command line."""

import json

import pytest

from iassf_jax.cli.main import main
from iassf_jax.data import images


def run(capsys, *argv):
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in argv])
    output = capsys.readouterr()
    return leave.value.code, output.out, output.err


def test_scenes_then_haze_from_their_depth(tmp_path, capsys):
    scenes, hazy = tmp_path / "scenes", tmp_path / "hazy"
    assert run(capsys, "scenes", "--output", scenes, "--count", 2, "--size", 40, 56)[0] is None
    code, out, _ = run(capsys, "haze", "--visible", scenes / "vi", "--output", hazy, "--kind", "depth", "--depth",
                       scenes / "depth", "--depth-meaning", "depth", "--depth-scale", 0.01,
                       "--range", "beta=0.02,0.02")  # fmt: skip
    assert code == 0 and out.startswith("2 hazy images")
    records = json.loads((hazy / "haze.json").read_text())
    assert "0.02" in json.dumps(records)
    assert images.read_image(sorted(hazy.glob("*.png"))[0]).shape == (40, 56, 3)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["haze", "--visible", "nowhere", "--output", "out"], "nowhere"),
        (["scenes", "--output", "out", "--size", "4", "4"], "16..4096"),
        (["summary", "--weights", "nowhere"], "training run"),
        (["summary", "--size", "0", "5"], "--size"),
    ],
)
def test_errors_are_one_line(argv, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = run(capsys, *argv)
    assert isinstance(code, str) and code.startswith("error: ") and words in code and "\n" not in code


@pytest.mark.parametrize(
    "argv, words",
    [
        ([], "required: COMMAND; see iassf-jax --help"),
        (["fuze"], "invalid choice: 'fuze'"),
        (["scenes"], "required: --output; see iassf-jax scenes --help"),
        (["scenes", "--output", "out", "--sise", "4"], "unrecognized arguments: --sise 4"),
        (["scenes", "--output", "out", "--count", "many"], "argument --count: "),
    ],
)
def test_usage_errors_are_one_line(argv, words, capsys):
    code, out, errors = run(capsys, *argv)
    assert code == 2 and not out
    assert errors.startswith("error: ") and words in errors and errors.count("\n") == 1


def test_a_malformed_range_is_explained(capsys):
    code, _, errors = run(capsys, "haze", "--visible", "a", "--output", "b", "--range", "beta=3")
    assert code == 2 and "--range" in errors


@pytest.mark.parametrize("option, value", [("--count", "0"), ("--count", "-3"), ("--seed", "-1"), ("--seed", "1.5")])
def test_numbers_that_make_no_sense_are_refused(option, value, tmp_path, capsys):
    code, _, errors = run(capsys, "scenes", "--output", tmp_path / "out", option, value)
    assert code == 2 and f"{option}: {value!r} is not a whole number of" in errors and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_summary_stays_below_the_release(capsys):
    code, out, _ = run(capsys, "summary")
    assert code is None
    total = next(line for line in out.splitlines() if line.startswith("total")).split()
    assert int(total[1].replace(",", "")) < 11_198_576 and float(total[2]) < 17.3
    for name in ("without_ir", "without_fb_peb", "fusion_blocks=7"):
        assert name in out
