#!/usr/bin/env bash
# An environment of its own for KeOps, which compiles its formulas with g++.
#
#   benchmarks/peers_keops.sh [FOLDER]  FOLDER is .peers_keops in the repository by default
set -euo pipefail
folder="${1:-"$(cd "$(dirname "$0")/.." && pwd)/.peers_keops"}"
python3 -m venv "$folder"
echo '*' > "$folder/.gitignore"
"$folder/bin/pip" install --quiet "pykeops>=2.3" numpy
"$folder/bin/python" -c 'import pykeops; print("peers ready, KeOps", pykeops.__version__)'
