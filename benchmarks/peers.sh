#!/usr/bin/env bash
# An environment of their own for the packages we compare with; the library and its tests never import them.
#
#   benchmarks/peers.sh [FOLDER]        FOLDER is .peers in the repository by default
#
# The constraints pin torch; nothing here asks for torchvision. The folder ignores itself in git.
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
folder="${1:-"$here/.peers"}"
python3 -m venv "$folder"
echo '*' > "$folder/.gitignore"
"$folder/bin/pip" install --quiet -c "$here/constraints.txt" torch "imate>=0.29" "linear_operator>=0.6" "gpytorch>=1.15"
"$folder/bin/python" -c 'import gpytorch, imate, linear_operator, torch; print("peers ready, torch", torch.__version__)'
