import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from superft_hf.records import Mark, MarkKind, RunState
from superft_hf.store import RunStore

A, B = "a" * 16, "b" * 16
MARK = Mark("cells", A, MarkKind.WRONG_LABEL, "dog", "cat", "eval", "x.png", "20260101-0000-aaaa", "a note")


def test_a_mark_is_kept_with_its_time_and_a_later_one_replaces_it(store):
    kept = store.set_mark(MARK)
    assert kept.time and replace(kept, time="") == MARK
    assert store.read_marks("cells") == [kept]
    later = store.set_mark(replace(MARK, kind=MarkKind.EXCLUDE, corrected=None, note="", by="command line"))
    assert store.read_marks() == [later] and later.time >= kept.time


def test_marks_are_apart_by_images_and_example(store):
    store.set_marks([MARK, replace(MARK, example_id=B), replace(MARK, data="others")])
    assert [one.example_id for one in store.read_marks("cells")] == [A, B]
    assert len(store.read_marks()) == 3 and store.read_marks("nowhere") == []
    assert store.remove_marks("cells", [A, "c" * 16]) == 1
    assert store.remove_marks("cells", []) == 0
    assert [(one.data, one.example_id) for one in store.read_marks()] == [("cells", B), ("others", A)]


def test_ids_of_copies_and_odd_texts_come_back(store):
    odd = replace(
        MARK, data="/data/'x'; DROP TABLE marks", example_id=f"{A}-12", note="zeilen\n\tü 🦊", corrected="a→b"
    )
    store.set_mark(odd)
    assert replace(store.read_marks(odd.data)[0], time="") == odd


def test_thousands_at_once(store):
    ids = [f"{number:016x}" for number in range(5000)]
    assert len(store.set_marks(replace(MARK, example_id=one) for one in ids)) == 5000
    assert len(store.read_marks("cells")) == 5000
    assert store.remove_marks("cells", ids[:4000]) == 4000
    assert len(store.read_marks("cells")) == 1000
    assert store.set_marks([]) == []


def test_several_are_kept_together_or_not_at_all(store):
    broken = replace(MARK, example_id=None)
    with pytest.raises(sa.exc.IntegrityError):
        store.set_marks([replace(MARK, example_id=B), broken])
    assert store.read_marks() == []


def test_marks_outlive_the_run_and_the_process(store, home, config_of):
    run = store.create_run(config_of("cells"), by="test")
    store.set_mark(replace(MARK, run_id=run.run_id))
    store.change_state(run.run_id, [RunState.QUEUED], RunState.DISCARDED, by="test")
    store.delete_run(run.run_id)
    assert not store.has_run(run.run_id)
    other = RunStore(home)
    assert [one.run_id for one in other.read_marks("cells")] == [run.run_id]
    other.close()


def test_two_writers_lose_nothing(store, home):
    other = RunStore(home)

    def write(one: RunStore, first: int) -> None:
        for number in range(first, first + 40):
            one.set_mark(replace(MARK, example_id=f"{number:016x}"))

    threads = [threading.Thread(target=write, args=pair) for pair in ((store, 0), (other, 40))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert len(store.read_marks("cells")) == 80
