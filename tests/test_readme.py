"""What the README says about settings is what the declaration says."""

from pathlib import Path

from superft_hf.settings import all_settings, settings_table

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
