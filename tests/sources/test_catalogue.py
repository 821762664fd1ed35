import pytest

from superft_hf.sources.catalogue import catalogue

A, B, C = ("a" * 64, 10, 20), ("b" * 64, 30, 40), ("c" * 64, 50, 60)


def test_order_and_copies_do_not_matter():
    one, other = catalogue([C, A, B, A]), catalogue([A, B, C])
    assert one.fingerprint == other.fingerprint and len(one) == 3
    assert one.sizes.tolist() == [[10, 20], [30, 40], [50, 60]]
    assert one.fingerprint != catalogue([A, B]).fingerprint


def test_rows_are_places_of_ids_with_or_without_the_number_of_a_copy():
    found = catalogue([C, A, B])
    assert found.rows(["b" * 16, "a" * 16 + "-2", "c" * 16, "a" * 16]).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("images", [[], [A, C]])
def test_an_image_of_another_set(images):
    with pytest.raises(KeyError):
        catalogue(images).rows(["b" * 16])
    assert catalogue(images).rows([]).tolist() == []
