"""MKL's product of a sparse matrix with a block, run inside its environment: `_peers_csr.py --serve mkl SIDE`.

Answers a line of standard input, the number of columns, with the time of one product.
"""

import glob
import os
import sys
from functools import cache

import numpy as np
from _servers import serve
from laplacian_logdet import laplacian

os.environ.setdefault("MKL_RT", next(iter(glob.glob(os.path.join(sys.prefix, "lib", "libmkl_rt.so*"))), ""))

from sparse_dot_mkl import dot_product_mkl


@cache
def block(n, columns):
    V = np.random.default_rng(0).standard_normal((n, columns))
    dot_product_mkl(A, V)
    return V


if __name__ == "__main__":
    A = laplacian(3, int(sys.argv[3]))[0]
    serve({"warm": lambda columns: {"n": len(block(A.shape[0], max(columns, 1)))},
           "MKL product": lambda columns: {"n": len(dot_product_mkl(A, block(A.shape[0], max(columns, 1))))}})
