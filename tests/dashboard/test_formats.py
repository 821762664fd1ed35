import doctest

import pytest

from dashboard import formats
from superft_hf import words


@pytest.mark.parametrize("module", [formats, words])
def test_formats__examples(module):
    failed, tried = doctest.testmod(module)

    assert tried >= 5
    assert failed == 0


def test_plain__markdown_typed_as_a_name_is_shown_as_typed():
    assert formats.plain("**[a](b)**\n<i>") == r"\*\*\[a\]\(b\)\*\* \<i\>"


def test_run_duration__of_a_run_that_never_started(store):
    from tests.factories import make_queued_run

    assert formats.run_duration_s(make_queued_run(store)) is None
