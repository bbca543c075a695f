"""Send a training to W&B's files, without an account; ``wandb sync`` uploads them.

python examples/track_wandb.py
"""

from monitor_core import Loop
from monitor_core.trackers import WandB


def main() -> None:
    tracker = WandB("examples", mode="offline", per_batch=True, config={"rate": 0.1, "batch": 32}, tags=["demo"])
    with Loop(tracker) as loop:
        for epoch in loop.epochs(5):
            for batch in loop.batches(range(100)):
                loop.log(loss=1 / (1 + epoch + batch / 100))
            loop.log(val_loss=1 / (1 + epoch))
    print(f"run {tracker.run_id} in wandb/: {tracker.delivered} messages were delivered")


if __name__ == "__main__":
    main()
