"""What the tests of bus share."""


def names(events):
    """Return the events' names alone."""
    return [event[0] for event in events]
