"""NetLSD and networkx on one graph, timed, in their own environment: see similarity.py.

    python _peers_similarity.py GRAPH.npz WHAT          prints one line of JSON
"""

import json
import resource
import sys
import time

import networkx
import scipy.sparse

PEERS = {
    "NetLSD": lambda A, netlsd: netlsd.heat(A).tolist(),
    "NetLSD, all eigenvalues": lambda A, netlsd: netlsd.heat(A, eigenvalues="full").tolist(),
    "networkx, all eigenvalues":
        lambda A, netlsd: networkx.normalized_laplacian_spectrum(networkx.from_scipy_sparse_array(A)).real.tolist(),
}


def main():
    import netlsd

    A = scipy.sparse.csr_matrix(scipy.sparse.load_npz(sys.argv[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found = PEERS[sys.argv[2]](A, netlsd)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "MiB": (peak - before) / 1024, "found": found[:512]}))


if __name__ == "__main__":
    main()
