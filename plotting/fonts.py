"""Names as text in a figure: as they are written, in fonts that have their characters.

Fallback fonts, found among those installed, serve for characters that the user's font lacks, such as East Asian ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from monitor_core._log import logger
from monitor_core.values.text import shortened

_PREFERRED = (
    "Noto Sans CJK",
    "Noto Sans JP",
    "Noto Sans KR",
    "Noto Sans SC",
    "Noto Sans TC",
    "Source Han Sans",
    "PingFang",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Meiryo",
    "Malgun Gothic",
    "WenQuanYi",
    "IPAexGothic",
    "IPAGothic",
    "NanumGothic",
    "Droid Sans Fallback",
    "Noto Sans",
)
"""The families that are looked at first: those made for screens, in the order of what they cover."""

_LAST_RESORT = "Last Resort"
"""matplotlib's own font that has a box for every character; it is no help."""

_NUMBER = r"$\mathdefault{"
"""With what matplotlib begins a number that it writes as a formula."""
_LONGEST = 60
TITLE, NOTES = "title", "notes"
"""The ids of texts that are not cut: the title, in which a user may write a formula, and the notes, which are wrapped.
"""

_told: set[str] = set()


def settle(texts: Iterable[Any]) -> None:
    """Make texts ready to be drawn: names are not formulas, and very long lines are cut; then `complete` them."""
    found = list(texts)
    for text in found:
        written = text.get_text()
        if "$" in written and not written.startswith(_NUMBER) and text.get_gid() != TITLE:
            text.set_parse_math(False)
        if len(written) > _LONGEST and text.get_gid() not in (TITLE, NOTES):
            text.set_text("\n".join(shortened(line, _LONGEST) for line in written.split("\n")))
    complete(found)


def complete(texts: Iterable[Any]) -> None:
    """Give each text fallback fonts for the characters that its font lacks; warn if none is installed.

    Args:
        texts: matplotlib's ``Text`` objects. Those whose font has every character stay unchanged.
    """
    for text in texts:
        lacking = _lacking(text.get_text(), text.get_fontproperties())
        if not lacking:
            continue
        families, left = [], set(lacking)
        while left and (name := _best_family("".join(sorted(left)))) is not None:
            families.append(name)
            left -= _covered(name, "".join(sorted(left)))
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])
        if left:
            _warn_missing(left)


def _lacking(text: str, properties: Any) -> set[str]:
    unusual = {character for character in text if ord(character) > 0x7F}
    if not unusual:
        return set()
    paths = font_manager.fontManager._find_fonts_by_props(properties)
    own = [path for path in paths if not _font(path).family_name.startswith(_LAST_RESORT)]
    return {each for each in unusual if not any(_has(path, each) for path in own)}


def _best_family(characters: str) -> str | None:
    """Return the family with the most of these characters, a preferred one in a tie; None if no family has any."""
    best: tuple[int, int, str] | None = None
    seen: set[str] = set()
    for entry in font_manager.fontManager.ttflist:
        if entry.name in seen or entry.style != "normal" or entry.name.startswith(_LAST_RESORT):
            continue
        seen.add(entry.name)
        count = sum(_has(entry.fname, each) for each in characters)
        rank = next((place for place, name in enumerate(_PREFERRED) if entry.name.startswith(name)), len(_PREFERRED))
        if count and (best is None or (count, -rank) > best[:2]):
            best = (count, -rank, entry.name)
    return None if best is None else best[2]


def _covered(family: str, characters: str) -> set[str]:
    paths = [entry.fname for entry in font_manager.fontManager.ttflist if entry.name == family]
    return {each for each in characters if any(_has(path, each) for path in paths)}


@lru_cache(maxsize=4096)
def _has(path: str, character: str) -> bool:
    return bool(_font(path).get_char_index(ord(character)))


@lru_cache(maxsize=64)
def _font(path: str) -> FT2Font:
    return FT2Font(path)


def _warn_missing(characters: set[str]) -> None:
    """Warn once for each script, and name a font to install."""
    name = _advice(max(characters, key=ord))
    if name not in _told:
        _told.add(name)
        logger.warning(
            "no installed font has %s, which will be drawn as boxes: install %s and start Python again",
            ", ".join(repr(each) for each in sorted(characters)[:5]),
            name,
        )


def _advice(character: str) -> str:
    code = ord(character)
    if 0x1100 <= code <= 0x11FF or 0x2E80 <= code <= 0x9FFF or 0xAC00 <= code <= 0xFFEF or 0x20000 <= code <= 0x3FFFF:
        return "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk; Fedora: google-noto-sans-cjk-fonts)"
    return "a Noto font for its script (https://fonts.google.com/noto)"
