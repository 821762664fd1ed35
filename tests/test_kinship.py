from superft_hf.config_file import make_config
from superft_hf.kinship import relatives
from tests.factories import make_config_values


def values_of(name: str, **changes) -> dict:
    return make_config(make_config_values(name=name, **changes)).model_dump(mode="json")


def test_runs_that_differ_in_name_and_seed_only_belong_together():
    known = {
        "a": values_of("one", seed=1),
        "b": values_of("two", seed=2),
        "c": values_of("three", seed=1, learning_rate=0.1),
        "d": values_of("four", seed=1, epochs=9),
    }
    assert relatives("a", known, ["training.seed"]) == ["a", "b"]
    assert relatives("a", known, ["training.seed", "training.learning_rate"]) == ["a", "b", "c"]
    assert relatives("a", known, []) == ["a"]


def test_a_run_whose_configuration_is_gone_stands_alone():
    assert relatives("x", {"a": values_of("one")}, ["training.seed"]) == ["x"]
