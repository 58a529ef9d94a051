"""Table A1: counted where the files are, published where they are not, and never guessed."""

from __future__ import annotations

import pytest

from spinscape.networks import _files
from spinscape.networks.datasets import DataError
from spinscape.networks.table import SOURCE, describe_datasets, misprints


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data set in any place."""
    monkeypatch.setenv("SPINSCAPE_DATA", str(tmp_path))
    monkeypatch.setenv("SPINSCAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_files, "DEBIAN", tmp_path / "debian")
    return tmp_path


def test_published_numbers_where_there_are_no_files(nowhere) -> None:
    rows = describe_datasets()
    assert [row.cells for row in rows] == [
        ("MNIST", "60,000", "10,000", "28 x 28", "10"),
        ("Fashion-MNIST", "60,000", "10,000", "28 x 28", "10"),
        ("CIFAR-10", "50,000", "10,000", "32 x 32 x 3", "10"),
        ("CIFAR-100", "50,000", "10,000", "32 x 32 x 3", "100"),
    ]
    assert not any(row.counted for row in rows)


def test_bundled_sets_are_counted_and_agree_with_the_registry(nowhere) -> None:
    rows = describe_datasets(["digits", "linnerud"])
    assert [row.cells for row in rows] == [
        ("Digits", "1,437", "360", "8 x 8", "10"),
        ("Linnerud", "15", "5", "3", "3"),
    ]
    assert all(row.counted for row in rows)


def test_real_files_are_counted(real_data) -> None:
    (row,) = describe_datasets(["mnist"], root=real_data)
    assert row.counted
    assert misprints(row) == {}


def test_misprints_are_named(nowhere) -> None:
    rows = describe_datasets(SOURCE)
    size = {"Feature Size": ("32 x 32 x 32", "32 x 32 x 3")}
    assert [misprints(row) for row in rows] == [{}, {}, size, size]
    with pytest.raises(ValueError, match="digits is not in Table A1"):
        misprints(describe_datasets(["digits"])[0])


def test_a_broken_file_is_an_error_and_not_a_published_number(nowhere) -> None:
    (nowhere / "cifar10").mkdir()
    (nowhere / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
        describe_datasets()
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        describe_datasets(["cifar-10"])
