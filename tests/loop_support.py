"""What the tests of loop share."""


def names(events):
    """Return the events' names alone."""
    return [event[0] for event in events]


def epoch_logs(recorder):
    """Return the epochs that were recorded, with their logs."""
    return [event[1:] for event in recorder.events if event[0] == "epoch_end"]
