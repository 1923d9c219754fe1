"""Packages that are timed in turns, each answering in a process of its own, so that a busy minute hits all alike.

A script `serve`s the calls of a package when it is started with `--serve PACKAGE`, under that package's Python; the
parent holds one `Server` a package and asks for the `medians` of some rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time


def serve(calls: dict) -> None:
    """Call everything once, untimed; then answer each line of standard input, a seed, with the timed answers."""
    for call in calls.values():
        call(0)
    print("ready", flush=True)
    for line in sys.stdin:
        found = {}
        for name, call in calls.items():
            start = time.perf_counter()
            answer = call(int(line))
            found[name] = answer | {"seconds": time.perf_counter() - start}
        print(json.dumps(found), flush=True)


class Server:
    """A package that answers under its own Python."""

    def __init__(self, python, script, package, *arguments):
        command = [python, script, "--serve", package, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{package} did not start under {python}")

    def ask(self, seed: int) -> dict:
        print(seed, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def medians(servers: list[Server], rounds: int, truth: float, what: str, before=lambda: None) -> dict:
    """For each contender the median and the least time, and the median error and half width relative to the truth.

    `before` is called before every round, to measure what the machine can do meanwhile.
    """
    answers = []
    for seed in range(1, rounds + 1):
        before()
        answers.append({name: answer for server in servers for name, answer in server.ask(seed).items()})
        print(f"{what}, round {seed} of {rounds}", file=sys.stderr)
    for server in servers:
        server.close()
    return {name: _of_runs([one[name] for one in answers], truth) for name in answers[0]}


def _of_runs(runs: list[dict], truth: float) -> dict:
    widths = [run["half width"] / abs(truth) for run in runs if run.get("half width") is not None]
    return {"seconds": statistics.median(run["seconds"] for run in runs), "least": min(run["seconds"] for run in runs),
            "median error": statistics.median(abs(run["value"] - truth) / abs(truth) for run in runs),
            "half width": statistics.median(widths) if widths else None, "products": runs[0].get("products")}
