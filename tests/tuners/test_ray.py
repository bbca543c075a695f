"""RayReport in a real local Ray: trials that are stopped, paused and restored, and workers that train together."""

import gc
import json
import sys
from pathlib import Path

import pytest

from monitor_core import EarlyStopping, Journal, Loop, Run, SetupError, open_run
from monitor_core.runs.catalogue import find_runs

pytest.importorskip("ray")
pytest.importorskip("ray.tune")
pytest.importorskip("ray.train")

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from monitor_core.tuners import RayReport

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that Ray leaves open
]


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """A Ray on this machine, whose workers get the functions of this module by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    gc.collect()  # of the files that Ray leaves open, while the warnings of it are ignored


def fit(loop, level, epochs=6):
    """Train: the loss falls from this level."""
    for epoch in loop.epochs(epochs):
        for _ in loop.batches(range(2)):
            loop.log(loss=level / (epoch + 1))


def tuned(function, space, folder, **options):
    """Run one trial after the other; return each one's last report, by its level, and the errors."""
    config = tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials=1, **options)
    where = tune.RunConfig(name="exp", storage_path=str(folder), verbose=0)
    results = tune.Tuner(function, param_space=space, tune_config=config, run_config=where).fit()
    assert results.errors == []
    return {each.config["level"]: (each.metrics["training_iteration"], each.metrics["loss"]) for each in results}


def test_a_scheduler_stops_the_trials_that_it_stops_without_us(tmp_path):
    """At the same reports; each trial is a run of the experiment, ended as stopped, with what it had reported."""
    levels = [1.0, 2.0]

    def plain(config):
        for epoch in range(6):
            tune.report({"loss": config["level"] / (epoch + 1)})

    def monitored(config):
        with Loop(RayReport(config), record=config["folder"]) as loop:
            fit(loop, config["level"])

    found = []
    for function in (plain, monitored):
        space = {"level": tune.grid_search(levels), "folder": str(tmp_path / "runs")}
        scheduler = ASHAScheduler(grace_period=1, max_t=5, reduction_factor=2)
        found.append(tuned(function, space, tmp_path / function.__name__, scheduler=scheduler))
    assert found[0] == found[1]
    assert {reports for reports, _ in found[1].values()} == {1, 5}

    runs = {run.config["level"]: run for run in map(open_run, (tmp_path / "runs").iterdir())}
    assert {level: len(run.history) for level, run in runs.items()} == {level: found[1][level][0] for level in levels}
    for level, run in runs.items():
        assert run.begin.parent == "exp"
        assert run.status == "stopped"
        assert run.history["loss"].tolist() == [level / (epoch + 1) for epoch in range(len(run.history))]
        assert [each.reason for each in run.decisions] == [
            f"Ray Tune stopped or paused the trial after report {len(run.history)}"
        ]
    statuses = {run.summary.status for run in find_runs(tmp_path / "runs", cache=tmp_path / "cache")}
    assert statuses == {"stopped"}


def test_a_paused_trial_continues_from_the_checkpoint_that_was_reported(tmp_path):
    """It begins a second run in the trial's folder; the first one says why it ended."""

    def monitored(config):
        begun = 0
        if (checkpoint := tune.get_checkpoint()) is not None:
            with checkpoint.as_directory() as folder:
                begun = json.loads((Path(folder) / "state.json").read_text())["epoch"] + 1

        def save(run: Run, folder: Path):
            (folder / "state.json").write_text(json.dumps({"epoch": run.epoch}))

        sinks = RayReport(config, save=save), EarlyStopping("loss", stopping_threshold=0.2)
        with Loop(*sinks, record=config["folder"], initial_epoch=begun) as loop:
            fit(loop, config["level"])

    class Scheduler(FIFOScheduler):
        def __init__(self):
            super().__init__()
            self.paused = set()

        def on_trial_result(self, tune_controller, trial, result):
            if result["training_iteration"] == 2 and trial.trial_id not in self.paused:
                self.paused.add(trial.trial_id)
                return TrialScheduler.PAUSE
            return TrialScheduler.CONTINUE

    space = {"level": 1.0, "folder": str(tmp_path / "runs")}
    assert tuned(monitored, space, tmp_path / "storage", scheduler=Scheduler()) == {1.0: (5, 0.2)}
    (folder,) = (tmp_path / "runs").iterdir()
    first, second = open_run(folder).runs
    assert [(run.status, run.outcome().stop_reason) for run in (first, second)] == [
        ("stopped", "Ray Tune stopped or paused the trial after report 2"),
        ("stopped", "loss is 0.2 and has reached 0.2"),
    ]
    assert open_run(folder).history.epoch == [0, 1, 2, 3, 4]


def test_the_evaluations_within_an_epoch_are_reported_too(tmp_path):
    """With their step; a function that ends by itself completes its run."""

    def monitored(config):
        with Loop(RayReport(config, at="evaluation"), record=config["folder"]) as loop:
            for _ in loop.epochs(1):
                for step in loop.batches(range(4)):
                    loop.log(loss=float(step))
                    if step == 1:
                        with loop.evaluation():
                            loop.log(loss=7.0)
        assert not loop.run.stopped

    config = tune.TuneConfig(metric="loss", mode="min")
    where = tune.RunConfig(name="exp", storage_path=str(tmp_path / "storage"), verbose=0)
    space = {"folder": str(tmp_path / "runs")}
    (result,) = tune.Tuner(monitored, param_space=space, tune_config=config, run_config=where).fit()
    rows = result.metrics_dataframe
    assert rows["step"].tolist() == [2, 4]
    assert rows["loss"].tolist() == [0.5, 1.5]  # since the evaluation before, and of the epoch
    assert rows["val_loss"].tolist() == [7.0, 7.0]
    (folder,) = (tmp_path / "runs").iterdir()
    assert open_run(folder).status == "completed"


def test_a_checkpoint_that_cannot_be_saved_ends_the_trial(tmp_path):
    """With its error: in Ray Train, the other workers would wait."""

    def monitored(config):
        def save(run: Run, folder: Path):
            raise ValueError("there is nothing to save")

        with Loop(RayReport(config, save=save), record=config["folder"]) as loop:
            fit(loop, 1.0)

    where = tune.RunConfig(name="exp", storage_path=str(tmp_path / "storage"), verbose=0)
    (result,) = tune.Tuner(monitored, param_space={"folder": str(tmp_path / "runs")}, run_config=where).fit()
    assert "there is nothing to save" in str(result.error)
    (folder,) = (tmp_path / "runs").iterdir()
    assert open_run(folder).status == "failed"


def test_workers_report_together_and_the_journal_keeps_what_ray_drops(tmp_path):
    """Of ranks with different numbers of batches: the exact means, of every epoch, once; a checkpoint rides along."""
    pytest.importorskip("torch")
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def monitored(config):
        rank = ray.train.get_context().get_world_rank()

        def save(run: Run, folder: Path):
            (folder / f"rank-{run.rank}").write_text(f"epoch {run.epoch}")

        with Loop(RayReport(config, save=save, save_every=2), Journal(config["folder"])) as loop:
            assert (loop.run.rank, loop.run.ranks) == (rank, 2)
            for epoch in loop.epochs(4):
                for _ in loop.batches(range(1 + 2 * rank)):  # one batch on rank 0, three on rank 1
                    loop.log(loss=float(epoch + rank))

    trainer = TorchTrainer(
        monitored,
        train_loop_config={"folder": str(tmp_path / "run"), "rate": 0.1},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(
            name="exp", storage_path=str(tmp_path / "storage"), checkpoint_config=CheckpointConfig(num_to_keep=2)
        ),
    )
    result = trainer.fit()
    assert result.error is None
    assert result.metrics["loss"] == 3.75
    with result.checkpoint.as_directory() as folder:
        assert [(path.name, path.read_text()) for path in Path(folder).glob("rank-*")] == [("rank-0", "epoch 3")]
    recorded = open_run(tmp_path / "run")
    assert (recorded.status, recorded.begin.parent, recorded.config["rate"]) == ("completed", "exp", 0.1)
    assert recorded.history["loss"].tolist() == [0.75, 1.75, 2.75, 3.75]


def test_outside_of_a_function_of_rays_the_sink_cannot_begin():
    """There is nothing to report to."""
    with (
        pytest.raises(SetupError, match=r"^RayReport works inside a function that Ray Tune or Ray Train runs: "),
        Loop(RayReport()),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((8,), {}, TypeError, r"^config must be a mapping \(got 8\)"),
        ((), {"save": True}, TypeError, r"^save must be a function of the run and a folder, or None \(got True\)"),
        ((), {"at": "step"}, ValueError, r"^at must be 'epoch' or 'evaluation' "),
        ((), {"save_every": 0}, ValueError, r"^save_every must be >= 1 \(got 0\)"),
    ],
)
def test_bad_arguments_are_refused_when_the_sink_is_made(arguments, options, error, message):
    """With the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        RayReport(*arguments, **options)
