"""A run that continues: what was found before is not reported again, and what came before counts."""

import pytest
from diagnosis_support import symptoms

from monitor_core import Diagnosis, Loop, diagnose

torch = pytest.importorskip("torch")


def test_a_resumed_run_reports_nothing_twice(tmp_path):
    """Its metrics are read from the record, so a trend goes across the interruption."""

    def train(epochs):
        module = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        diagnosis = Diagnosis()
        with Loop(diagnosis, model=module, optimizer=optimizer, resume=tmp_path) as loop:
            for epoch in loop.epochs(epochs):
                for _ in loop.batches(range(3)):
                    loop.log(loss=1.0 + epoch)
        return diagnosis, symptoms(loop.run.findings)

    assert train(6)[1] == ["loss_rising"]
    diagnosis, reported = train(10)
    assert reported == []
    assert diagnosis._examination.seen.curve("loss").values.tolist() == [1.0 + epoch for epoch in range(10)]
    assert symptoms(diagnosis.findings) == ["loss_rising"]
    assert symptoms(diagnose(tmp_path)) == ["loss_rising"]
