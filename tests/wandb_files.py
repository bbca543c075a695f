"""Reads what W&B has written offline: a file of records in the format of LevelDB's log."""

import json
from pathlib import Path

from web_server import wait_until

_BLOCK, _HEAD = 32768, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def _payloads(data):
    """Yield the records of a file."""
    place, parts = _HEAD, []  # the file has a head of its own
    while place + _HEAD <= len(data):
        if _BLOCK - place % _BLOCK < _HEAD:  # a block's end that is too small for a head
            place += _BLOCK - place % _BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts.append(data[place + _HEAD : place + _HEAD + length])
        place += _HEAD + length
        if kind in (_WHOLE, _LAST):
            yield b"".join(parts)
            parts = []


def read_segments(folder):
    """Return each run that is in a folder, by its id: its rows, without W&B's own columns, and what is known of it."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for path in sorted(Path(folder).glob("wandb/offline-run-*/run-*.wandb")):
        segment = {"rows": []}
        for payload in _payloads(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(payload)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                segment["rows"].append(_items(record.history.item))
            elif kind == "run":
                run = record.run
                segment |= {"id": run.run_id, "group": run.run_group, "tags": list(run.tags), "name": run.display_name}
                segment["config"] = _items(run.config.update)
            elif kind == "exit":
                segment["exit_code"] = record.exit.exit_code
            elif kind == "summary":
                segment.setdefault("summary", {}).update(_items(record.summary.update))
            elif kind == "metric":
                metric = record.metric
                segment.setdefault("axes", {})[metric.name or metric.glob_name] = metric.step_metric
        if "id" in segment:  # else nothing is written yet: W&B's own process writes a little later
            found[segment["id"]] = segment
    return found


def _items(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def points(segment):
    """Return a run's values without W&B's own columns, as (step, row)."""
    return [
        (row["step"], {name: value for name, value in row.items() if not name.startswith("_") and name != "step"})
        for row in segment["rows"]
    ]


def read_finished(folder, count=1):
    """Return as many finished runs as there must be, shortest id first, once all are written."""
    found = []

    def are_there():
        found[:] = [segment for segment in read_segments(folder).values() if "exit_code" in segment]
        return len(found) == count

    wait_until(are_there)
    return sorted(found, key=lambda segment: len(segment["id"]))
