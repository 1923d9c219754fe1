"""GPyTorch's marginal likelihood and gradient, run in the peers' environment by `gp.py`: one JSON line on output."""

import json
import resource
import sys
import time

import gpytorch
import numpy as np
import torch

path, precision, probes, kernel = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
dtype = getattr(torch, precision)
data = np.load(path)
X, y = (torch.tensor(data[name], dtype=dtype) for name in ("X", "y"))
n, d = X.shape


class Model(gpytorch.models.ExactGP):
    def __init__(self, likelihood):
        super().__init__(X, y, likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5, ard_num_dims=d))

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


likelihood = gpytorch.likelihoods.GaussianLikelihood().to(dtype)
model = Model(likelihood).to(dtype)
likelihood.noise = kernel["noise"]
model.covar_module.outputscale = kernel["variance"]
model.covar_module.base_kernel.lengthscale = kernel["lengthscale"] * d**0.5
model.train()
likelihood.train()
torch.manual_seed(0)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
start, cpu = time.perf_counter(), time.process_time()
settings = (gpytorch.settings.num_trace_samples(probes), gpytorch.settings.max_preconditioner_size(100),
            gpytorch.settings.cg_tolerance(1e-2), gpytorch.settings.max_cg_iterations(1000),
            gpytorch.settings.max_cholesky_size(0))
with settings[0], settings[1], settings[2], settings[3], settings[4]:
    value = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)(model(X), y) * n
    value.backward()
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
with torch.no_grad():  # raw parameters pass through softplus: the slope in the natural ones
    raw = {"variance": (model.covar_module.raw_outputscale, model.covar_module.outputscale),
           "lengthscale": (model.covar_module.base_kernel.raw_lengthscale, model.covar_module.base_kernel.lengthscale),
           "noise": (likelihood.noise_covar.raw_noise, likelihood.noise - 1e-4)}
    gradient = {name: (r.grad / (1 - torch.exp(-v))).flatten().tolist() for name, (r, v) in raw.items()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"rows": n, "seconds": seconds, "cpu_seconds": cpu, "peak_gb": peak, "base_gb": base,
                  "value": float(value), "gradient": gradient}))
