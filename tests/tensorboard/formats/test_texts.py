"""Texts: any Markdown is rendered by TensorBoard."""

import pytest

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.texts import table, text_value


@pytest.fixture
def rendered(tmp_path, board):
    """Return a function that returns TensorBoard's HTML of a text."""

    def render(text):
        EventFile(tmp_path / "run").add_value(text_value("note", text), 2)
        rows = board(tmp_path).get("plugin/text/text", run="run", tag="note")
        assert [row["step"] for row in rows] == [2]
        return rows[0]["text"]

    return render


def test_markdown_is_rendered(rendered):
    """Emphasis and letters of any language are preserved."""
    assert rendered("*ä* 日本") == "<p><em>ä</em> 日本</p>"


@pytest.mark.parametrize("text", [b"caf\xe9", "caf\udce9"])
def test_invalid_characters_are_shown_as_a_mark(rendered, text):
    """Invalid UTF-8 is replaced: it would make the tag an error."""
    assert rendered(text) in {"<p>caf\ufffd</p>", "<p>caf?</p>"}


def test_a_mapping_becomes_a_table(rendered):
    """A mapping's items are rows, and characters that would end a cell are escaped."""
    html = rendered(table({"rate": 0.1, "layers": {"first": "a|b", "second": "c\nd"}, "none": {}}))
    cells = [part.partition("</td>")[0] for part in html.split("<td>")[1:]]
    assert cells == ["rate", "0.1", "layers/first", "a|b", "layers/second", "c d", "none", "{}"]


def test_a_table_has_the_header_given():
    """A table's header is above its two columns."""
    assert table({"a": 1}, ("metric", "best")) == "| metric | best |\n| --- | --- |\n| a | 1 |\n"


@pytest.mark.parametrize("text", [3, None, ["a"]])
def test_object_that_is_not_a_string_is_refused(text):
    """An object that is not a string is refused with its value."""
    with pytest.raises(TypeError, match="text must be a string"):
        text_value("note", text)
