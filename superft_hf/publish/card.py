"""The model card: sections of Markdown with the evidence of a run, under metadata that the Hub validates.

What stays true: every figure is the record's, rounded as the command line rounds it; test figures come with
the number of looks at them; and nothing is claimed that was not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import ModelCard, ModelCardData

from superft_hf.config_file import dump_config
from superft_hf.paths import BundlePaths
from superft_hf.publish import card_results, operating
from superft_hf.publish.card_results import MisclassifiedPicture, Section
from superft_hf.publish.evidence import Evidence, Source
from superft_hf.publish.licences import Licences
from superft_hf.publish.markdown import listed, plain, table
from superft_hf.publish.metadata import make_metadata
from superft_hf.publish.options import PublishOptions
from superft_hf.words import VIEWS, count, counted, duration, size

FILES = BundlePaths()

_STRATEGIES = {
    "full": "every layer was trained",
    "head": "only the classification layer was trained, the other layers stayed as they were",
    "head-then-full": "first the classification layer was trained alone, then every layer",
    "gradual": "first the classification layer was trained alone, then one block after another from the top "
    "down, at last every layer",
}
_NO_USE = (
    "*Its author has not written down what this model is meant for. Until then, take it for an experiment on "
    "the images named above.*"
)
_NO_LIMITS = "*Its author has named no limits beyond those below. That does not mean that there are none.*"


@dataclass(frozen=True)
class Card:
    """A model card before it is text.

    Attributes:
        title: Of the card, Markdown.
        summary: The answer in one or two sentences, Markdown.
        data: The metadata.
        sections: In the order of the card.
    """

    title: str
    summary: str
    data: ModelCardData
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """The whole README.md."""
        parts = [f"# {self.title}", self.summary, *(section.markdown for section in self.sections)]
        return str(ModelCard(f"---\n{self.data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"))


def make_card(
    evidence: Evidence,
    options: PublishOptions,
    licences: Licences,
    *,
    repo_id: str,
    pictures: Sequence[MisclassifiedPicture] = (),
    has_test: bool = True,
) -> Card:
    """The card of a run.

    Args:
        evidence: The run.
        options: What its author wants to say.
        licences: Of model and images.
        repo_id: Where it goes, for the lines that say how to use it; any place for an export.
        pictures: Misclassified pictures that go in.
        has_test: Whether test figures are shown; False seals them in a preview.
    """
    licence = options.licence or licences.suggested
    shown = tuple(one for one in evidence.splits.values() if has_test or one.split != "test")
    sections = [
        *card_results.sections(evidence, shown, pictures),
        _how_to_use(repo_id, evidence.config.augmentation.test_time),
        *filter(None, [operating.section(evidence, shown, repo_id)]),
        _images(evidence, licences),
        _training(evidence, licences),
        Section("Intended use", options.intended_use.strip() or _NO_USE),
        Section("Limits", options.limits.strip() or _NO_LIMITS),
        Section("What it is not", card_results.caveats(evidence, shown)),
        _environment(evidence),
    ]
    return Card(
        title=plain(evidence.record.name),
        summary=_summary(evidence, has_test=has_test),
        data=make_metadata(evidence, evidence.record.name, licence, has_test=has_test),
        sections=tuple(sections),
    )


def _summary(evidence: Evidence, *, has_test: bool) -> str:
    names = evidence.class_names
    told = f"Tells {counted(len(names), 'class', 'classes')} of images apart: {listed(names)}."
    measured = [
        card_results.accuracy_words(one)
        for one in reversed(evidence.splits.values())
        if has_test or one.split != "test"
    ]
    return f"{told} It recognised {' and '.join(measured)}."


def _how_to_use(repo_id: str, test_time: str) -> Section:
    code = f"""```python
from transformers import pipeline

classify = pipeline("image-classification", model="{repo_id}")
for guess in classify("photo.jpg"):
    print(f"{{guess['label']}}: {{guess['score']:.1%}}")
```"""
    if test_time in VIEWS:
        code += (
            f"\n\nThis looks at each image once. For the figures above, average the logits over "
            f"{VIEWS[test_time]}, as `superft predict` does."
        )
    return Section("How to use it", code)


def _images(evidence: Evidence, licences: Licences) -> Section:
    facts, counts, data = evidence.record.facts, evidence.counts, evidence.config.data
    is_cut = facts.get("is_cut", ())
    splits = []
    for name in ("train", "eval", "test"):
        how = f" (cut from train, seed {data.split_seed})" if name in is_cut else ""
        splits.append(f"{counted(int(counts.get(name, 0)), f'{name} image')}{how}")
    rows = [
        ("Images", _source_link(evidence.data, "datasets/")),
        ("Splits", ", ".join(splits)),
        ("Classes", f"{len(evidence.class_names):,}: {listed(evidence.class_names, 30)}"),
        ("Licence", _licence_words(licences.data, licences.data_note)),
    ]
    if data.group_column:
        rows.append(("Groups", f"no value of {plain(data.group_column)} lies in two splits that were cut"))
    if facts.get("skipped"):
        rows.append(("Left out", f"{counted(int(facts['skipped']), 'file')} that could not be read"))
    if facts.get("fingerprint"):
        rows.append(("Fingerprint", f"`{facts['fingerprint']}`, of every image with its class and split"))
    note = "" if evidence.data.kind != "local" else (
        "The images lie on the computer of the author and are not published with the model."
    )  # fmt: skip
    return Section("What it was trained on", "\n\n".join(filter(None, (table(("", ""), rows, "ll"), note))))


def _training(evidence: Evidence, licences: Licences) -> Section:
    record, config, facts = evidence.record, evidence.config, evidence.record.facts
    trained = facts.get("num_trained_parameters")
    whole = facts.get("num_parameters")
    rows = [
        ("Base model", _source_link(evidence.model, "")),
        None if config.model.pretrained else ("Its weights", "not used: training began with random ones"),
        ("Its licence", _licence_words(licences.model)),
        ("Network", f"{plain(evidence.architecture)}, {count(whole)} parameters"),
        ("Strategy", f"{plain(config.model.strategy)}: {_STRATEGIES[config.model.strategy]}"),
        ("Trained", f"{count(trained)} of {count(whole)} parameters") if trained and whole else None,
        ("Input", _input_words(facts.get("image_size"))),
        ("Length", f"{record.epoch:g} epochs, {counted(record.global_step, 'step')}, {_time(evidence)}"),
        ("Checkpoint kept", f"the one with the best {plain(record.best_metric or 'eval_loss')}, "
                            f"of step {count(record.best_step)}"),
        ("Device", plain(str(facts.get("device", "not noted")))),
        ("Peak memory", size(int(facts["peak_memory_bytes"]))) if facts.get("peak_memory_bytes") else None,
    ]  # fmt: skip
    settings = f"```yaml\n{dump_config(config).strip()}\n```"
    folded = f"<details>\n<summary>All settings</summary>\n\n{settings}\n\n</details>"
    text = "\n\n".join((table(("", ""), [row for row in rows if row], "ll"), folded))
    return Section("How it was trained", text, figures=((FILES.curves, "Loss and accuracy by epoch"),))


def _environment(evidence: Evidence) -> Section:
    versions = evidence.environment.get("versions", {})
    named = [
        f"{name} {versions[name]}"
        for name in ("superft-hf", "torch", "transformers", "timm", "torchvision", "datasets")
        if name in versions
    ]
    if evidence.environment.get("python"):
        named.append(f"Python {evidence.environment['python']}")
    words = plain(", ".join(named)) if named else "Not noted."
    made = (
        f"Made with superft\\_hf on {evidence.record.created_at[:10]}, run `{evidence.record.run_id}`. "
        f"`{FILES.config}` repeats it where images and base model are at hand; `{FILES.evaluation}` holds "
        "every figure of this card."
    )
    return Section("Environment", f"{words}\n\n{made}")


def _source_link(source: Source, kind: str) -> str:
    if source.kind == "hub":
        address = f"https://huggingface.co/{kind}{source.title}"
        return (
            f"[{plain(source.title)}]({address}), commit "
            f"[`{source.commit[:12]}`]({address}/tree/{source.commit})"
        )
    if source.kind == "sample":
        return f"`{source.title}`, a sample that comes with superft\\_hf"
    return f"a local folder called {plain(source.title)}"


def _licence_words(licence: str, note: str = "") -> str:
    if not licence:
        return "not known"
    return plain(licence) + (f". {plain(note)}" if note else "")


def _input_words(image_size: int | None) -> str:
    return f"RGB, {image_size} × {image_size} px" if image_size else "RGB"


def _time(evidence: Evidence) -> str:
    facts = evidence.record.facts
    whole = f"{duration(evidence.duration_s)} from start to end"
    if facts.get("train_images_timed") and facts.get("train_seconds_timed"):
        pace = facts["train_images_timed"] / facts["train_seconds_timed"]
        return f"{whole}, {pace:,.1f} training images a second"
    return whole
