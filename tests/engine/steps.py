"""What the tests of the engine do again and again."""

from collections.abc import Callable

from superft_hf.engine.supervisor import Supervisor
from superft_hf.records import RunState
from superft_hf.store import RunStore


def is_in(store: RunStore, run_id: str, state: RunState) -> bool:
    return store.get_run(run_id).state is state


def passes_until(supervisor: Supervisor, until: Callable, condition: Callable[[], bool]) -> None:
    """Lets the supervisor work until something holds."""
    until(lambda: bool(supervisor.step() or True) and condition())
