#!/usr/bin/env bash
# An environment of their own for the packages on JAX, and for CVXOPT, whose wheel brings CHOLMOD.
#
#   benchmarks/peers_jax.sh [FOLDER]    FOLDER is .peers_jax in the repository by default
set -euo pipefail
folder="${1:-"$(cd "$(dirname "$0")/.." && pwd)/.peers_jax"}"
python3 -m venv "$folder"
echo '*' > "$folder/.gitignore"
"$folder/bin/pip" install --quiet jax "matfree>=0.6" "traceax>=1.0" "cola-ml>=0.0.7" cvxopt scipy
"$folder/bin/python" -c 'import cola, cvxopt, jax, matfree, traceax; print("peers ready, jax", jax.__version__)'
