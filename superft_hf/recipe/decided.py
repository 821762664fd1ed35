"""The settings of a run as they were decided, or as far as that can be told before.

What a reader of settings should look at wherever a number is needed: `config.yaml` may leave it to the rule.
"""

from superft_hf.config import RunConfig
from superft_hf.config_file import read_config
from superft_hf.paths import RunPaths
from superft_hf.recipe.case import Case, counts_in_order, make_case
from superft_hf.recipe.rules import decide, undecided
from superft_hf.records import DataInfo, ModelInfo

_USUAL = Case(num_train=2000, class_counts=(1000, 1000))
"""What is taken for a run whose images are not known."""


def decided_config(paths: RunPaths) -> RunConfig:
    """The settings that a run trained with: `resolved.yaml`; before it, those asked for and rough choices.

    Raises:
        ConfigError: If the configuration is gone or damaged.
    """
    return roughly(read_config(paths.resolved if paths.resolved.exists() else paths.config))


def roughly(config: RunConfig, model: ModelInfo | None = None, data: DataInfo | None = None) -> RunConfig:
    """The configuration with every setting decided, as well as model and images are known."""
    return decide(config, rough_case(config, model, data)) if undecided(config) else config


def rough_case(config: RunConfig, model: ModelInfo | None = None, data: DataInfo | None = None) -> Case:
    """What a page knows of a run before its images are opened."""
    counts = counts_in_order(data.counts.get("train", {}), data.class_names) if data else []
    if not sum(counts):
        counts = list(_USUAL.class_counts)
    return make_case(config, model, counts, class_names=data.class_names if data else ())
