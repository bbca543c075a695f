"""Texts: the user's Markdown, written once, when the run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.tensorboard.formats.texts import text_value
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part


@attrs.define
class Texts(Part):
    """Write Markdown texts once.

    Args:
        texts: The texts by tag.
    """

    name: ClassVar[str] = "the texts"

    texts: Mapping[str, str]
    _written: bool = False

    def begin(self, run: Run, files: RunFiles) -> None:
        if not self._written:
            for tag, text in self.texts.items():
                files[TRAIN].add_value(text_value(tag, text), 0)
            self._written = True
