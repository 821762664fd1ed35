import doctest

from dashboard import formats


def test_formats__examples():
    failed, tried = doctest.testmod(formats)

    assert tried > 10
    assert failed == 0


def test_plain__markdown_typed_as_a_name_is_shown_as_typed():
    assert formats.plain("**[a](b)**\n<i>") == r"\*\*\[a\]\(b\)\*\* \<i\>"


def test_run_duration__of_a_run_that_never_started(store):
    from tests.factories import make_queued_run

    assert formats.run_duration_s(make_queued_run(store)) is None
