"""What the README says about settings and commands is what the declarations say."""

import argparse
from pathlib import Path

from superft_hf.cli import make_parser
from superft_hf.settings import all_settings, settings_table
from superft_hf.verbs import DISCARD, FINISH, PAUSE, RESUME, STOP_HARD

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def test_the_table_of_settings_is_made_from_the_declaration():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1 and text.count(END) == 1
    between = text.split(BEGIN)[1].split(END)[0]
    assert between.strip() == settings_table(), "put the output of superft_hf.settings.settings_table() there"


def test_every_setting_is_named():
    text = README.read_text(encoding="utf-8")
    assert [one.key for one in all_settings() if f"`{one.key}`" not in text] == []


def test_every_command_is_named():
    text = README.read_text(encoding="utf-8")
    actions = make_parser()._actions
    (commands,) = (one.choices for one in actions if isinstance(one, argparse._SubParsersAction))
    assert [name for name in commands if f"`superft {name}" not in text] == []


def test_every_verb_is_explained():
    text = README.read_text(encoding="utf-8")
    part = text.split("## Runs that cannot be lost")[1].split("\n## ")[0]
    for verb in (FINISH, PAUSE, RESUME, STOP_HARD, DISCARD):
        assert f"| {verb.name.replace('-', ' ')} |" in part
