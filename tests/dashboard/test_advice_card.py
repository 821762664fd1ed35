"""The card of advice: a line and a button for each, drawn over real curves."""

from functools import partial

import pytest

from dashboard import advice_card
from superft_hf.advice import Advice
from superft_hf.records import Remedy
from tests import factories


@pytest.fixture
def draw(draw_card):
    """`draw(run)`: the card alone, and what a pressed button asked for."""
    return partial(draw_card, "advice_card")


def test_advice_card__a_run_that_learned_too_slowly(store, draw):
    run = factories.make_completed_run(store, learning_rate=3e-6, epochs=4)
    page, asked = draw(run)

    assert not page.exception
    assert page.subheader[0].value == "What to do next time"
    assert ":material/lightbulb:" in page.markdown[1].value
    (button,) = [one for one in page.button if one.label == "Repeat with learning rate 0.00003"]
    assert "Learning rate 0.00003" in button.help.replace("\\", "")
    button.click().run()
    assert asked == [(run.run_id, {"training.learning_rate": 3e-5})]


def test_advice_card__without_a_remedy_the_button_leads_to_the_setting(store, draw, monkeypatch):
    found = [
        Advice("a", "A *title*.", "Text_1.", "model.name_or_path"),
        Advice("b", "B.", "Text.", "training.seed", Remedy("Repeat with seed 7", {"training.seed": 7})),
    ]
    monkeypatch.setattr(advice_card, "advise", lambda *_: found)
    run = factories.make_queued_run(store)
    page, asked = draw(run)
    assert [one.label for one in page.button] == ["Change model", "Repeat with seed 7"]
    assert "A \\*title\\*\\." in page.markdown[1].value  # nothing in it formats
    page.button(key="advice_a_begin").click().run()
    page.button(key="advice_b_begin").click().run()
    assert asked == [(run.run_id, None), (run.run_id, {"training.seed": 7})]


def test_advice_card__nothing_stands_out(store, draw, monkeypatch):
    monkeypatch.setattr(advice_card, "advise", lambda *_: [])
    page, _ = draw(factories.make_queued_run(store))
    assert "Nothing stands out." in page.markdown[0].value and not page.button


def test_advice_card__a_run_whose_settings_are_gone(store, draw):
    run = factories.make_queued_run(store)
    store.run_paths(run.run_id).config.unlink()
    page, _ = draw(run)
    assert not page.exception and "cannot be read" in page.markdown[0].value
