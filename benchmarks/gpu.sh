#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, in one command: an environment, the whole test suite with the tests that need the
# device, and the benchmarks, whose figures go to docs/measured/gpu.json.
#
#   benchmarks/gpu.sh [FOLDER]                FOLDER is .gpu in the repository by default; it ignores itself in git
#   PYTHON=/path/to/python benchmarks/gpu.sh  in an environment that is there, with torch or CuPy and the test packages
set -euo pipefail
cd "$(dirname "$0")/.."
command -v nvidia-smi > /dev/null || { echo "there is no nvidia-smi: this machine has no NVIDIA GPU" >&2; exit 1; }
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
if [ -z "${PYTHON:-}" ]; then
  folder="${1:-.gpu}"
  cuda="$(nvidia-smi | sed -n 's/.*CUDA[A-Z a-z]*Version: *\([0-9]*\)\..*/\1/p' | head -n 1)"
  python3 -m venv "$folder"
  echo '*' > "$folder/.gitignore"
  # The newest torch from the index is built for CUDA; constraints.txt may pin a build without it. Never torchvision.
  "$folder/bin/pip" install --quiet "torch>=2.4" "cupy-cuda${cuda:-12}x" -e ".[graphs,plot,data,test]"
  PYTHON="$folder/bin/python"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -m pytest -q -m "" -rs
"$PYTHON" benchmarks/gpu.py
