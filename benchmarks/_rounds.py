"""Timings taken in turns, round after round, and kept in a file, so that a long run may be cut into slices."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "reproduce"))

from _report import save, table  # noqa: E402

__all__ = ["Rounds", "add_arguments", "save", "table"]


def add_arguments(parser, file, rounds=5):
    """What every benchmark that runs in slices can be told."""
    parser.add_argument("--json", type=Path, default=HERE.parent / "docs" / "measured" / file)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds in all, those in the file among them")
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="begin no round that would end later; run again to go on")
    parser.add_argument("--only", nargs="+", help="measure these alone")
    parser.add_argument("--fresh", action="store_true", help="measure what the file holds anew")


class Rounds:
    """The rows of a JSON file: a case, a call of it, and the wall and processor seconds of every round so far."""

    def __init__(self, options, **document):
        self.path, self.rounds = options.json, options.rounds
        self.deadline = time.monotonic() + options.seconds
        self.document = {"rows": []}
        if self.path.exists() and not options.fresh:
            self.document = json.loads(self.path.read_text())
            self.document.pop("versions")
        self.document |= document | {"threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))}
        self.complete = True

    def take(self, case: dict, make, names) -> None:
        """Rounds that `case` lacks, of the calls `names` that `make()` returns; facts of a call go in its row."""
        rows = [self.row(case | {"what": name}) for name in names]
        calls, last = None, 0.0
        while min(len(row["times"]) for row in rows) < self.rounds:
            if not self.time_left(last):
                return
            calls, start = calls or make(), time.monotonic()
            for row in rows:
                self._measure(row, calls[row["what"]])
            last = time.monotonic() - start
            self.save()
            print(*case.values(), f"{last:.1f} s a round", file=sys.stderr, flush=True)

    def time_left(self, seconds: float = 0.0) -> bool:
        """Whether there is time for so many seconds more; if not, the run is incomplete."""
        enough = time.monotonic() + seconds <= self.deadline
        self.complete &= enough
        return enough

    def save(self) -> None:
        save(self.path, self.document)

    def row(self, key: dict) -> dict:
        """The row with these entries, made if there is none."""
        for row in self.document["rows"]:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        self.document["rows"].append(key | {"times": []})
        return self.document["rows"][-1]

    @staticmethod
    def _measure(row, call):
        wall, processor = time.perf_counter(), time.process_time()
        facts = call()
        row["times"].append([time.perf_counter() - wall, time.process_time() - processor])
        walls, processors = zip(*row["times"], strict=True)
        row |= {"seconds": statistics.median(walls), "least": min(walls), "processor": statistics.median(processors)}
        if isinstance(facts, dict):
            row |= facts
