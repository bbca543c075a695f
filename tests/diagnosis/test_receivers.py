"""Where findings go: the end of the progress, TensorBoard's texts, a web address."""

import io
import math
from pathlib import Path

import pytest
from diagnosis_support import blobs

from monitor_core import Diagnosis, Loop, Progress, TensorBoard, Webhook

NAN = (0.9, 0.5, math.nan)


def train(*sinks):
    """Train until the loss is NaN."""
    x, y = blobs(64)
    with Loop(Diagnosis(sample=(1000 * x, y)), *sinks) as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=NAN[epoch])


def test_the_progress_ends_with_the_findings():
    """Each on a line, problems and warnings alone."""
    stream = io.StringIO()
    train(Progress(file=stream))
    lines = stream.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines[-2:]] == ["warning", "problem"]
    assert "The inputs go from" in lines[-2]
    assert "Epoch 3: loss became NaN" in lines[-1]


def test_tensorboard_has_them_among_its_texts(tmp_path):
    """By symptom, those before the first step too."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(TensorBoard(tmp_path))
    events = accumulator.EventAccumulator(str(Path(tmp_path, "train")))
    events.Reload()
    tags = [tag.removesuffix("/text_summary") for tag in events.Tags()["tensors"]]
    assert tags == ["findings/unscaled_input", "findings/non_finite"]


def test_a_webhook_posts_them(monkeypatch):
    """As an event with the finding's values."""
    posted = []
    hook = Webhook("http://127.0.0.1:9/hook", events=["finding"], flush_seconds=5.0)
    monkeypatch.setattr(type(hook), "deliver", lambda self, message: posted.append(message))
    train(hook)
    assert [(each["event"], each["symptom"], each["severity"], each["epoch"]) for each in posted] == [
        ("finding", "unscaled_input", "warning", -1),
        ("finding", "non_finite", "problem", 2),
    ]
