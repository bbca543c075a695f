"""Search a learning rate with Ray Tune; its scheduler stops hopeless trials, and each trial is a recorded run.

python examples/tune_ray.py             # then: monitor-core list runs --sort best
"""

from pathlib import Path

import ray
from ray import tune

from monitor_core import Loop
from monitor_core.runs.catalogue import find_runs
from monitor_core.tuners import RayReport


def train(config: dict) -> None:
    slope = 0.0
    with Loop(RayReport(config), record=config["folder"]) as loop:
        for _ in loop.epochs(9):
            for _ in loop.batches(range(10)):
                error = slope - 3
                slope -= config["rate"] * error
                loop.log(loss=error**2)


def main() -> None:
    folder = Path("runs").absolute()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    space = {"rate": tune.grid_search([0.001, 0.05, 0.2]), "folder": str(folder)}
    scheduler = tune.schedulers.ASHAScheduler(grace_period=1, max_t=9, reduction_factor=3)
    options = tune.TuneConfig(metric="loss", mode="min", scheduler=scheduler)
    where = tune.RunConfig(name="slopes", storage_path=str(folder.parent / "ray"), verbose=0)
    best = tune.Tuner(train, param_space=space, tune_config=options, run_config=where).fit().get_best_result()
    ray.shutdown()
    for run in find_runs(folder):
        summary = run.summary
        print(f"{run.path.name}, rate {summary.config['rate']}: {summary.status} after {summary.epochs} epochs", end="")
        print(f", loss {summary.last['loss']:.3g}; {summary.stop_reason}")
    print(f"the best rate is {best.config['rate']}")


if __name__ == "__main__":
    main()
