"""Fonts for characters that matplotlib's own lack."""

import logging

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from monitor_core.plotting import fonts, plot_history

TITLE = "学習曲線"


@pytest.fixture(autouse=True)
def only_own_fonts(monkeypatch):
    """Keep the fonts of matplotlib, as on a machine without East Asian ones, and forget what was warned of."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    font_manager.fontManager._findfont_cached.cache_clear()
    fonts._told.clear()
    yield
    font_manager.fontManager._findfont_cached.cache_clear()


def install(folder, family, characters):
    """Make a font with these characters, each a square, and install it for matplotlib."""
    glyphs = [".notdef", *(f"u{ord(each):04X}" for each in characters)]
    pen = TTGlyphPen(None)
    for place, point in enumerate(((0, 0), (0, 700), (700, 700), (700, 0))):
        (pen.lineTo if place else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(each): name for each, name in zip(characters, glyphs[1:], strict=True)})
    square = pen.glyph()
    builder.setupGlyf(dict.fromkeys(glyphs, square))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = folder / f"{family}.ttf"
    builder.save(path)
    font_manager.fontManager.addfont(path)


def title_of(figure):
    return figure._suptitle


def test_a_font_that_has_the_characters_is_a_fallback(tmp_path, caplog):
    """The user's own family stays the first; nothing is warned of."""
    install(tmp_path, "Test Sans", TITLE)
    figure = plot_history({"loss": [1.0]}, title=f"{TITLE} 1")
    assert title_of(figure).get_fontfamily() == ["sans-serif", "Test Sans"]
    assert [record for record in caplog.records if record.name == "monitor_core"] == []


def test_a_preferred_family_is_taken_of_several(tmp_path):
    """Of fonts that have all characters, one that is made for screens."""
    install(tmp_path, "A Test Sans", TITLE)
    install(tmp_path, "Noto Sans CJK Test", TITLE)
    assert title_of(plot_history({"loss": [1.0]}, title=TITLE)).get_fontfamily()[1:] == ["Noto Sans CJK Test"]


def test_several_fonts_complete_each_other(tmp_path):
    """A title in two scripts falls back on two families."""
    install(tmp_path, "Test Kanji", "学習")
    install(tmp_path, "Test Hangul", "학")
    figure = plot_history({"loss": [1.0]}, title="学習 학")
    assert title_of(figure).get_fontfamily() == ["sans-serif", "Test Kanji", "Test Hangul"]


def test_labels_of_runs_are_completed_too(tmp_path):
    """Whatever is written in the figure."""
    install(tmp_path, "Test Sans", "学")
    side = plot_history({"学": {"loss": [1.0]}}).axes[-1]
    (label,) = [text for text in side.texts if text.get_text() == "学"]
    assert label.get_fontfamily() == ["sans-serif", "Test Sans"]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_where_no_font_has_them_one_warning_says_which_to_install(caplog):
    """It names the characters and the package."""
    with caplog.at_level(logging.WARNING, "monitor_core"):
        plot_history({"loss": [1.0]}, title=TITLE)
        plot_history({"loss": [1.0]}, title=TITLE)
    (record,) = [record for record in caplog.records if record.name == "monitor_core"]
    assert record.getMessage().startswith("no installed font has '学', '曲', '線', '習', which will be drawn as boxes")
    assert "apt install fonts-noto-cjk" in record.getMessage()


def test_what_the_own_font_has_changes_nothing():
    """Accents and Greek are in it."""
    assert title_of(plot_history({"loss": [1.0]}, title="Größe Ω")).get_fontfamily() == ["sans-serif"]


def test_labels_of_lines_and_marks_are_completed_too(tmp_path):
    """A metric may have any name."""
    install(tmp_path, "Test Sans", "学")
    axes = plot_history({"loss": [1.0], "val_学_loss": [1.0], "val_loss": [1.0]}).axes[0]
    families = [text.get_fontfamily() for text in axes.texts if "学" in text.get_text()]
    assert families == [["sans-serif", "Test Sans"]]
