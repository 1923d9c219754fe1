"""The peers' log-determinants of one kernel matrix, run inside their environment: `_peers_logdet.py FOLDER`.

Reads kernel.npy and job.json (noise, steps, probes, rng) from the folder and writes answers.json. Products are counted
where the peer lets us (linear_operator), and otherwise those its settings demand (imate).
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import imate
import linear_operator
import numpy as np
import torch
from linear_operator.operators import AddedDiagLinearOperator, ConstantDiagLinearOperator, DenseLinearOperator


class Counted(DenseLinearOperator):
    """A dense matrix that counts the columns it is multiplied with."""

    columns = 0

    def _matmul(self, rhs):
        Counted.columns += rhs.shape[-1] if rhs.ndim > 1 else 1
        return super()._matmul(rhs)


def with_imate(K, job):
    value = imate.logdet(K, method="slq", min_num_samples=job["probes"], max_num_samples=job["probes"],
                         lanczos_degree=job["steps"], orthogonalize=-1, seed=job["rng"])
    return float(value), job["probes"] * job["steps"]


def with_linear_operator(K, job, rank):
    """`rank` of the pivoted-Cholesky preconditioner; 0 is none."""
    torch.manual_seed(job["rng"])
    settings = linear_operator.settings
    smooth = Counted(torch.from_numpy(K))
    noise = ConstantDiagLinearOperator(torch.tensor([job["noise"]], dtype=torch.float64), len(K))
    Counted.columns = 0
    with (settings.max_cholesky_size(0), settings.num_trace_samples(job["probes"]), settings.cg_tolerance(1e-12),
          settings.max_cg_iterations(job["steps"]), settings.max_lanczos_quadrature_iterations(job["steps"]),
          settings.max_preconditioner_size(rank), settings.min_preconditioning_size(1), torch.no_grad()):
        value = AddedDiagLinearOperator(smooth, noise).logdet()
    return float(value), Counted.columns


def timed(method, *arguments):
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, products = method(*arguments)
    return {"value": value if np.isfinite(value) else None, "products": products,
            "seconds": time.perf_counter() - start}


def main():
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    K = np.load(folder / "kernel.npy")
    answers = {
        "linear_operator": timed(with_linear_operator, K, job, 0),
        "linear_operator, preconditioner of rank 100": timed(with_linear_operator, K, job, 100),
        "imate": timed(with_imate, K + job["noise"] * np.eye(len(K)), job),
    }
    versions = {name: version(name) for name in ("imate", "linear_operator", "gpytorch", "torch")}
    (folder / "answers.json").write_text(json.dumps({"versions": versions, "methods": answers}))


if __name__ == "__main__":
    main()
