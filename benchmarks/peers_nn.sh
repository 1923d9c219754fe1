#!/bin/sh
# An environment of its own with the packages that curvature products are compared with. Torch is asked for in the
# version that is installed here, on the CPU, and BackPACK without its dependencies: one of them, torchvision, would
# replace it.
#
#     benchmarks/peers_nn.sh && .peers-nn/bin/python benchmarks/curvature_products.py
set -e
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
version=$("$python" -c "import torch; print(torch.__version__)")
"$python" -m venv .peers-nn
.peers-nn/bin/pip install --quiet "torch==${version%+*}" numpy scipy array-api-compat numba tqdm einops
.peers-nn/bin/pip install --quiet --no-deps curvlinops-for-pytorch pyhessian backpack-for-pytorch unfoldNd einconv
.peers-nn/bin/pip install --quiet --no-deps -e .
