"""One browser for all tests of a module."""

import functools

import pytest

from page_support import browser, sheet_of


@pytest.fixture(scope="module")
def chromium():
    """Return the browser. It ends with the module: tests of other modules run event loops of their own."""
    with browser() as started:
        yield started


@pytest.fixture
def sheet(chromium):
    """Return a function that opens a page in the browser, for a ``with`` statement."""
    return functools.partial(sheet_of, chromium)
