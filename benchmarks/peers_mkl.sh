#!/usr/bin/env bash
# An environment of its own for MKL's sparse products.
#
#   benchmarks/peers_mkl.sh [FOLDER]    FOLDER is .peers_mkl in the repository by default
set -euo pipefail
folder="${1:-"$(cd "$(dirname "$0")/.." && pwd)/.peers_mkl"}"
python3 -m venv "$folder"
echo '*' > "$folder/.gitignore"
"$folder/bin/pip" install --quiet numpy scipy mkl "sparse_dot_mkl>=0.9"
MKL_RT="$(ls "$folder"/lib/libmkl_rt.so* | head -1)" "$folder/bin/python" -c \
    'import sparse_dot_mkl; print("peers ready, MKL", sparse_dot_mkl.get_version_string())'
