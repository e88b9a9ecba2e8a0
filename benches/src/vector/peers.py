"""The peers of `cargo xtask bench vector` that live in Python: hnswlib and faiss.

Usage: peers.py PEER ROWS QUERIES DIMENSION K M EF_BUILD, where PEER is hnswlib, faiss-hnsw or faiss-flat and
ROWS and QUERIES name files of little-endian f32. One JSON command per line on stdin, one JSON answer on
stdout. Everything runs on one thread.
"""

import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

# What a library prints must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np


def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Hnswlib:
    def __init__(self, arguments):
        import importlib.metadata

        import hnswlib

        self.library = hnswlib
        self.version = "hnswlib " + importlib.metadata.version("hnswlib")
        self.arguments = arguments
        self.index = None

    def build(self, rows):
        self.index = None
        index = self.library.Index(space="ip", dim=rows.shape[1])
        index.init_index(
            max_elements=len(rows),
            M=self.arguments["m"],
            ef_construction=self.arguments["ef_build"],
        )
        index.set_num_threads(1)
        index.add_items(rows, num_threads=1)
        self.index = index

    def search(self, queries, k, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k=k, num_threads=1)[0]


class Faiss:
    def __init__(self, arguments):
        import faiss

        faiss.omp_set_num_threads(1)
        self.library = faiss
        self.version = "faiss " + faiss.__version__
        self.arguments = arguments
        self.index = None

    def build(self, rows):
        self.index = None
        if self.arguments["peer"] == "faiss-flat":
            index = self.library.IndexFlatIP(rows.shape[1])
        else:
            index = self.library.IndexHNSWFlat(
                rows.shape[1], self.arguments["m"], self.library.METRIC_INNER_PRODUCT
            )
            index.hnsw.efConstruction = self.arguments["ef_build"]
        index.add(rows)
        self.index = index

    def search(self, queries, k, ef):
        if self.arguments["peer"] == "faiss-hnsw":
            self.index.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]


def run(peer, queries, k, command):
    """Queries per second, in batches of all of them or one by one."""
    batch = len(queries) if command["batch"] else 1
    done = 0
    began = time.perf_counter()
    while done == 0 or time.perf_counter() - began < command["seconds"]:
        at = done % len(queries)
        peer.search(queries[at : at + batch], k, command["ef"])
        done += batch
    return {"qps": done / (time.perf_counter() - began)}


def main():
    names = ["peer", "rows", "queries", "dimension", "k", "m", "ef_build"]
    arguments = dict(zip(names, sys.argv[1:]))
    for name in names[3:]:
        arguments[name] = int(arguments[name])
    shape = (-1, arguments["dimension"])
    rows = np.fromfile(arguments["rows"], dtype="<f4").reshape(shape)
    queries = np.fromfile(arguments["queries"], dtype="<f4").reshape(shape)
    k = arguments["k"]
    kind = Hnswlib if arguments["peer"] == "hnswlib" else Faiss
    peer = kind(arguments)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "version":
            answer = {"version": peer.version}
        elif command["do"] == "build":
            before = rss()
            began = time.perf_counter()
            peer.build(rows)
            answer = {
                "seconds": time.perf_counter() - began,
                "bytes": max(0, rss() - before),
            }
        elif command["do"] == "answers":
            found = peer.search(queries, k, command["ef"])
            answer = {"rows": np.asarray(found).astype(int).tolist()}
        else:
            answer = run(peer, queries, k, command)
        print(json.dumps(answer), file=answers, flush=True)


main()
