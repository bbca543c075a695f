"""Texts: Markdown that TensorBoard renders, whatever is in it."""

import pytest

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.texts import table, text_value


@pytest.fixture
def rendered(tmp_path, board):
    """Return a function that gives the HTML which TensorBoard makes of a text."""

    def render(text):
        EventFile(tmp_path / "run").add_value(text_value("note", text), 2)
        rows = board(tmp_path).get("plugin/text/text", run="run", tag="note")
        assert [row["step"] for row in rows] == [2]
        return rows[0]["text"]

    return render


def test_markdown_is_rendered(rendered):
    """Emphasis and letters of any language come through."""
    assert rendered("*ä* 日本") == "<p><em>ä</em> 日本</p>"


@pytest.mark.parametrize("text", [b"caf\xe9", "caf\udce9"])
def test_invalid_text_is_shown_with_a_mark(rendered, text):
    """Bytes that are no UTF-8 would make the tag an error."""
    assert rendered(text) in {"<p>caf\ufffd</p>", "<p>caf?</p>"}


def test_a_mapping_becomes_a_table(rendered):
    """Its items are rows, and what would end a cell does not."""
    html = rendered(table({"rate": 0.1, "layers": {"first": "a|b", "second": "c\nd"}, "none": {}}))
    cells = [part.partition("</td>")[0] for part in html.split("<td>")[1:]]
    assert cells == ["rate", "0.1", "layers/first", "a|b", "layers/second", "c d", "none", "{}"]


def test_a_table_has_the_header_given():
    """Above its two columns."""
    assert table({"a": 1}, ("metric", "best")) == "| metric | best |\n| --- | --- |\n| a | 1 |\n"


@pytest.mark.parametrize("text", [3, None, ["a"]])
def test_what_is_no_text_is_refused(text):
    """The message has the value."""
    with pytest.raises(TypeError, match="text must be a string"):
        text_value("note", text)
