"""Pages run in AppTest on a store of their own. No supervisor starts: made-up runs have no process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import state
from superft_hf.engine import control
from superft_hf.paths import HOME_VARIABLE
from superft_hf.records import RunRecord
from superft_hf.store import RunStore

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def open_page(home: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """`open_page("runs", run="…")`: that page, drawn once, with these query parameters and session keys."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    for name in ("ensure_supervisor", "expect_run"):
        monkeypatch.setattr(control, name, lambda home: None)

    def opened(name: str, session: dict[str, Any] | None = None, **query: str) -> AppTest:
        test = AppTest.from_file(str(APP), default_timeout=60)
        for key, value in (session or {}).items():
            test.session_state[key] = value
        for key, value in query.items():
            test.query_params[key] = value
        test.switch_page(f"app_pages/{name}.py")
        return test.run()

    return opened


def _card(module: str, run_id: str) -> None:
    """Where one card alone is drawn; AppTest reads its source, hence the imports here."""
    import importlib

    from dashboard import readers

    importlib.import_module(f"dashboard.{module}").draw(readers.run(run_id))


@pytest.fixture
def draw_card(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[AppTest, list[Any]]]:
    """`draw_card("advice_card", run)`: the card of a run, and the (run, changes) that its buttons repeat."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    asked: list[Any] = []
    monkeypatch.setattr(state, "repeat_run", lambda run_id, changes=None: asked.append((run_id, changes)))

    def drawn(module: str, run: RunRecord) -> tuple[AppTest, list[Any]]:
        return AppTest.from_function(_card, args=(module, run.run_id), default_timeout=30).run(), asked

    return drawn
