"""The peers' way up to an error, run inside their environment: `_peers_logdet_time.py FOLDER`.

Reads kernel.npy (noise included) and job.json (noise, truth, rngs, ladder, goal, limit) from the folder. Each peer
tries the rungs in turn until the median of its errors is the goal or less, or an answer takes longer than the limit.
"""

import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _peers_logdet import with_imate, with_linear_operator


def climbed(method, K, job, *arguments):
    """The rungs tried: median error, seconds and products, and whether the goal was reached."""
    rungs = []
    for steps, probes in job["ladder"]:
        errors, seconds = [], []
        for rng in job["rngs"]:
            start = time.process_time()
            value, products = method(K, job | {"steps": steps, "probes": probes, "rng": rng}, *arguments)
            seconds.append(time.process_time() - start)
            errors.append(abs(value - job["truth"]) / abs(job["truth"]) if np.isfinite(value) else np.inf)
            if seconds[-1] > job["limit"]:
                break
        error = statistics.median(errors)
        rungs.append({"steps": steps, "probes": probes, "median error": error if np.isfinite(error) else None,
                      "cpu_seconds": statistics.median(seconds), "products": products, "answers": len(errors),
                      "reached": bool(error <= job["goal"])})
        if error <= job["goal"] or seconds[-1] > job["limit"]:
            break
    return rungs


def main():
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    full = np.load(folder / "kernel.npy")
    smooth = full - job["noise"] * np.eye(len(full))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = {"linear_operator": climbed(with_linear_operator, smooth, job, 0),
                   "linear_operator, preconditioner of rank 100": climbed(with_linear_operator, smooth, job, 100),
                   "imate": climbed(with_imate, full, job)}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
