"""Search a learning rate with Optuna; hopeless trials are pruned, and each trial is a recorded run.

python examples/tune_optuna.py          # then: monitor-core list runs --sort best
"""

import optuna

from monitor_core import Loop, open_run
from monitor_core.tuners import OptunaPruning


def objective(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 0.001, 0.6, log=True)
    slope = loss = 0.0
    with Loop(OptunaPruning(trial, "val_loss"), record="runs/slopes") as loop:
        for _ in loop.epochs(15):
            for batch in loop.batches(range(10)):
                error = slope - 3
                slope -= rate * error / (batch + 1)
                loop.log(loss=error**2)
            with loop.evaluation():
                loss = (slope - 3) ** 2
                loop.log(loss=loss)
    return loss


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    study = optuna.create_study(study_name="slopes", sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
    study.optimize(objective, n_trials=15)
    for trial in study.trials:
        recorded = open_run(f"runs/slopes/trial-{trial.number}")
        print(f"trial {trial.number:2}, rate {recorded.config['rate']:.3f}: {recorded.status}", end="")
        print(f" after {len(recorded.history)} epochs, val_loss {recorded.history['val_loss'][-1]:.3g}")
    print(f"the best is trial {study.best_trial.number}")


if __name__ == "__main__":
    main()
