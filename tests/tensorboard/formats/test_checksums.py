"""Checksums: ours against those of the package and of TensorBoard."""

import sys

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from monitor_core.tensorboard.formats import checksums
from monitor_core.tensorboard.formats.checksums import RowChecksums, crc32c, crc32c_by_numpy, masked_crc32c


@pytest.fixture
def without_package(monkeypatch):
    """Pretend that the package is missing."""
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    crc32c.cache_clear()
    yield
    crc32c.cache_clear()


def test_the_check_value_of_the_standard():
    """The checksum of the digits 1 to 9 is the published one."""
    assert crc32c()(b"123456789") == crc32c_by_numpy(b"123456789") == 0xE3069283


@given(st.binary(max_size=200))
def test_short_data_have_the_packages_checksum(data):
    """NumPy gives what the package gives, for every length."""
    assert crc32c_by_numpy(data) == google_crc32c.value(data)


@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 65_540, 200_003])
def test_long_data_have_the_packages_checksum(length):
    """NumPy gives what the package gives for data longer than one chunk."""
    data = np.random.default_rng(0).bytes(length)
    assert crc32c_by_numpy(data) == google_crc32c.value(data)


@given(st.binary(max_size=50))
def test_masked_checksums_are_tensorboards(data):
    """Masked checksums are those that TensorBoard's own writer stores."""
    assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)


def test_without_the_package_numpy_computes(without_package):
    """Without the package, the result is the same."""
    assert crc32c() is crc32c_by_numpy


def test_the_packages_slow_version_is_not_used(monkeypatch):
    """If the package has no C extension, NumPy is used, as it is faster."""
    monkeypatch.setattr(google_crc32c, "implementation", "python")
    crc32c.cache_clear()
    assert crc32c() is crc32c_by_numpy
    crc32c.cache_clear()


@given(st.data(), st.integers(1, 300))
def test_rows_have_the_checksums_of_their_bytes(data, length):
    """Rows that differ in some bytes get the same checksums together as one by one."""
    positions = data.draw(st.lists(st.integers(0, length - 1), min_size=1, unique=True))
    template = np.frombuffer(data.draw(st.binary(min_size=length, max_size=length)), np.uint8).copy()
    template[positions] = 0
    differing = np.random.default_rng(length).integers(0, 256, (3, len(positions))).astype(np.uint8)
    rows = np.tile(template, (3, 1))
    rows[:, positions] = differing
    found = RowChecksums(template.tobytes(), positions).masked(differing)
    assert found.tolist() == [masked_crc32c(row.tobytes()) for row in rows]


def test_tables_are_made_once(monkeypatch):
    """A second layout of the same length computes no table."""
    RowChecksums(bytes(100), [0])
    monkeypatch.setattr(checksums, "_past_zero", None)
    assert RowChecksums(bytes(100), [5]).masked(np.array([[1]], np.uint8)).tolist() == [
        masked_crc32c(bytes(5) + b"\1" + bytes(94))
    ]
