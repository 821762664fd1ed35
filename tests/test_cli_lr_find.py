"""`superft lr-find`: what it prints of a range test; the test itself is in tests/training/test_lr_find.py."""

import json

import pytest

from superft_hf import cli_lr_find
from superft_hf.config_file import dump_config
from superft_hf.errors import DeviceError
from superft_hf.preflight.lr_find import LrRange

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture
def yaml(config_of, make_folder, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config_of(make_folder({"a": 4, "b": 4}))))
    return path


@pytest.fixture
def answer(monkeypatch):
    """Puts an answer in the place of the child process."""

    def answers(result: LrRange | Exception) -> None:
        def find(config, home, hear):
            hear({"step": 1, "steps": 50, "learning_rate": 1e-7, "loss": 2.0})
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(cli_lr_find, "find", find)

    return answers


def range_of(**changes) -> LrRange:
    count = 40
    values = {
        "learning_rates": tuple(1e-7 * 1.5**step for step in range(count)),
        "losses": tuple(2.0 - step / 40 for step in range(count)),
        "smoothed": tuple(2.0 - step / 50 for step in range(count)), "is_diverged": True,
        "steepest": 0.00231, "valley": 0.000316, "family": "convnet", "batch_size": 32,
        "learning_rate": 0.001, "device": "2 CPU cores", "duration_s": 12.0,
    }  # fmt: skip
    return LrRange(**{**values, **changes})


def test_the_curve_the_verdict_and_what_the_run_would_do(superft, home, yaml, answer, capsys):
    answer(range_of())
    assert superft("lr-find", yaml) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["LEARNING", "RATE", "LOSS", "SMOOTHED"]
    assert out[1].split() == ["1.0e-07", "2.0000", "2.0000"]
    assert out[12].split() == [f"{1e-7 * 1.5**39:.1e}", "1.0250", "1.2200"], "the last point is among them"
    assert out[13].startswith("Suggested: 0.00032")
    assert "would train with 0.001. The loss falls fastest at 0.0023." in out[14]
    assert "40 updates of 32 images on 2 CPU cores, ended by a loss that diverged, in 12 s." in out[14]
    assert not home.exists()


def test_a_transformer_gets_a_hint(superft, yaml, answer, capsys):
    answer(range_of(family="transformer", is_diverged=False))
    assert superft("lr-find", yaml) == 0
    out = capsys.readouterr().out
    assert "A hint only: the loss falls well around 0.00032." in out and "the loss never diverged" in out


def test_json__one_value_and_nothing_else(superft, yaml, answer, capsys):
    answer(range_of())
    assert superft("lr-find", yaml, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["learning_rates"]) == len(found["losses"]) == len(found["smoothed"]) == 40
    assert (found["suggestion"], found["valley"], found["is_hint"]) == (0.00032, 0.000316, False)
    assert found["verdict"] and found["reason"]


def test_a_refusal_is_a_sentence(superft, yaml, answer, capsys):
    answer(DeviceError("The learning-rate test cannot be made now.", hint="Try again."))
    assert superft("lr-find", yaml) == 1
    out, err = capsys.readouterr()
    assert out == "" and "Error: The learning-rate test cannot be made now.\nHint: Try again." in err


def test_a_bad_yaml_is_refused(superft, tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("nonsense: 1\n")
    assert superft("lr-find", path) == 1
    assert "nonsense is not a setting" in capsys.readouterr().err
