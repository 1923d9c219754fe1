#!/bin/sh
# An environment of its own with the packages that curvature products are compared with. Torch and the rest are those
# that are installed here, seen but not touched; the packages come without their dependencies, because one of them,
# torchvision, would bring another torch.
#
#     benchmarks/peers_nn.sh && build/peers-nn/bin/python benchmarks/curvature_products.py
set -e
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
"$python" -m venv build/peers-nn
here=$("$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
there=$(build/peers-nn/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
printf '%s\n%s\n' "$here" "$PWD" > "$there/here.pth"
build/peers-nn/bin/pip install --quiet --no-deps curvlinops-for-pytorch pyhessian backpack-for-pytorch unfoldNd \
    einconv einops jaxtyping wadler-lindig linear-operator mpmath
build/peers-nn/bin/python -c "import curvlinops, pyhessian, backpack, torch; print(torch.__version__)"
