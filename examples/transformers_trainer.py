"""Attach to a `Trainer` of Hugging Face transformers: a tiny language model, built here, that learns to count.

python examples/transformers_trainer.py
"""

import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from monitor_core import EarlyStopping, History, Progress, TerminateOnNaN
from monitor_core.adapters.transformers import TransformersAdapter


def main() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    tokens = (torch.arange(8)[None] + torch.randint(1, 8, (80, 1))).tolist()
    data = [{"input_ids": each, "labels": each} for each in tokens]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=12,
            learning_rate=3e-2,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(LlamaForCausalLM(config), arguments, train_dataset=data[:64], eval_dataset=data[64:])
        history = History(per_batch=True)
        stopping = EarlyStopping("val_loss", patience=3, min_delta=0.05)
        adapter = TransformersAdapter(history, stopping, TerminateOnNaN(), Progress())
        adapter.train(trainer)

    print(f"{adapter.run.status} after {adapter.run.step} steps: {adapter.run.stop_reason}")
    print("the raw loss of the last three steps:", history.batches["loss"][-3:].round(3))


if __name__ == "__main__":
    main()
