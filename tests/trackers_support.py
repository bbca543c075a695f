"""Trainings for the tests of trackers."""

from monitor_core import Bus, Loop


def train_epoch(bus, epoch, losses):
    """Drive a bus through an epoch with these losses, without its end."""
    bus.epoch_begin(epoch)
    for loss in losses:
        bus.batch_begin(bus.run.step + 1)
        bus.batch_end(bus.run.step + 1, {"loss": loss})


def train_with_kill(make):
    """Train an epoch, save, train three steps more, and be killed; then resume from the save and train to the end.

    The steps 1 and 2 are before the save, 3 to 5 are trained twice, with the same losses, and 6 is new.

    Args:
        make: Returns a new tracker with ``per_batch=True``.

    Returns:
        The second tracker.
    """
    bus = Bus(first := make())
    bus.train_begin(epochs=2)
    train_epoch(bus, 0, [6.0, 5.0])
    bus.epoch_end(0, {"loss": 5.5})
    state = bus.state_dict()
    train_epoch(bus, 1, [4.0, 3.0, 2.0])
    bus.flush()
    first.close(20)
    second = make()
    bus = Bus(second)
    bus.load_state_dict(state)
    bus.train_begin(epochs=2)
    train_epoch(bus, 1, [4.0, 3.0, 2.0, 1.0])
    bus.epoch_end(1, {"loss": 2.5})
    bus.train_end()
    assert not bus.failures
    assert second.flush(60)
    return second


def train_two_epochs(*sinks):
    """Train two epochs of two batches in a loop, with results of each; return the loop."""
    with Loop(*sinks) as loop:
        for epoch in loop.epochs(2):
            for loss in loop.batches([4.0, 2.0]):
                loop.log(loss=loss / (epoch + 1))
            loop.log(val_loss=5.0 - epoch)
    assert not loop.bus.failures
    for sink in sinks:
        if getattr(sink, "flush_seconds", 0.0):  # else the test waits itself
            sink.flush(60)
    return loop
