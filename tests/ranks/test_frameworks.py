"""Frameworks that run on several ranks by themselves: their adapters make one run of these."""

import json

import pytest
from ranks_support import torchrun

pytest.importorskip("torch")

REPORT = """
import json
print("\\n" + json.dumps([loop.run.status, loop.run.epoch, history["loss"].tolist(), history["val_loss"].tolist()]))
"""

ACCELERATE = """
from accelerate import Accelerator
from monitor_core.adapters.accelerate import AccelerateLoop

torch.manual_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
module = torch.nn.Linear(4, 1)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 4)), batch_size=4)
model, optimizer, data = accelerator.prepare(module, torch.optim.SGD(module.parameters(), lr=0.1), data)
sinks = [history := History(), EarlyStopping("val_loss", patience=2), CSVLogger("log.csv")]
with AccelerateLoop(accelerator, *sinks, model=model, optimizer=optimizer) as loop:
    for epoch in loop.epochs(9):
        for (x,) in loop.batches(data):
            with accelerator.accumulate(model):
                loss = model(x).square().mean()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                loop.log(loss=loss)
        with loop.evaluation():
            loop.log(loss=float(epoch + rank))
"""

LIGHTNING = """
import lightning
from monitor_core.adapters.lightning import LightningAdapter

class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss
    def validation_step(self, batch, index):
        self.log("val_loss", torch.tensor(float(self.current_epoch + rank)))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

lightning.seed_everything(0)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 4)), batch_size=4)
loop = LightningAdapter(history := History(), EarlyStopping("val_loss", patience=2), CSVLogger("log.csv"))
trainer = lightning.Trainer(
    max_epochs=9, accelerator="cpu", devices=2, strategy="ddp", callbacks=[loop], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(Module(), data, data)
"""

TRANSFORMERS = """
from transformers import Trainer, TrainingArguments
from monitor_core.adapters.transformers import TransformersAdapter

class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        return {"loss": (self.layer(x) - labels).square().mean(), "logits": x}

torch.manual_seed(0)
data = [{"x": torch.randn(4), "labels": torch.zeros(1)} for _ in range(64)]
loop = TransformersAdapter(
    history := History(), EarlyStopping("val_loss", patience=2, mode="max"), CSVLogger("log.csv")
)
arguments = TrainingArguments(
    "out", num_train_epochs=9, per_device_train_batch_size=4, use_cpu=True, eval_strategy="epoch", report_to=[],
    save_strategy="no", disable_tqdm=True, learning_rate=1e-2,
)
Trainer(model=Module(), args=arguments, train_dataset=data, eval_dataset=data[:15], callbacks=[loop]).train()
"""


@pytest.mark.parametrize(
    ("package", "code"), [("accelerate", ACCELERATE), ("lightning", LIGHTNING), ("transformers", TRANSFORMERS)]
)
def test_both_ranks_have_the_same_results_and_stop_together(tmp_path, package, code):
    """After the first epoch, which is the best, and two more; rank 0 alone writes."""
    pytest.importorskip(package)
    status, written = torchrun(code + REPORT, tmp_path)
    assert status == 0, written
    one, other = (json.loads(line) for line in written.splitlines() if line.startswith('["'))
    assert one == other
    assert one[:2] == ["stopped", 2]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
