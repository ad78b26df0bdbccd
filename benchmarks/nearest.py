"""Is exact search with a screen faster than brute force? Medians of interleaved runs, on random and clustered galleries.

    python benchmarks/nearest.py --queries 4096 --rows 100000 --dim 512
    python benchmarks/nearest.py --last

Prints a table for people and one JSON line for machines, stored in benchmarks/results/nearest.json. Every contender gets the
same threads. `fraction_of_gemm` is our time against one bare matrix product of the same size in the screen's precision.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from pd.reid.gallery import Gallery
from pd.reid.screen import best_dtype

RESULT = Path(__file__).parent / "results" / "nearest.json"
BLOCK = 8192


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(kind: str, queries: int, rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and gallery; clustered: a hundred rows around each centre at cosine about 0.9, and queries around the same."""
    chance = np.random.default_rng(0)
    if kind == "random":
        return unit(chance.normal(size=(queries, dim))), unit(chance.normal(size=(rows, dim)))
    centres = unit(chance.normal(size=(max(1, rows // 100), dim)))

    def around(n: int) -> np.ndarray:
        own = centres[chance.integers(len(centres), size=n)]
        return unit(own + 0.5 * unit(chance.normal(size=(n, dim))))

    return around(queries), around(rows)


def torch_fp32(queries: torch.Tensor, rows: torch.Tensor) -> np.ndarray:
    """Blocked float32 matmul + max, what one would write without this package."""
    best = torch.full((len(queries),), -2.0, device=queries.device)
    index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for start in range(0, len(rows), BLOCK):
        score, at = (queries @ rows[start : start + BLOCK].T).max(1)
        better = score > best
        best, index = torch.where(better, score, best), torch.where(better, at + start, index)
    return index.cpu().numpy()


def bare_gemm(queries: torch.Tensor, rows: torch.Tensor) -> None:
    """The products alone, looked at by nobody."""
    for start in range(0, len(rows), BLOCK):
        last = queries @ rows[start : start + BLOCK].T
    if last.is_cuda:
        torch.cuda.synchronize()


def contenders(queries: np.ndarray, rows: np.ndarray, device: str) -> dict[str, Callable[[], object]]:
    gallery = Gallery(rows, device=device)
    q, r = torch.from_numpy(queries).to(device), torch.from_numpy(rows).to(device)
    low = best_dtype(q.device)
    ql, rl = q.to(low), r.to(low)
    runs: dict[str, Callable[[], object]] = {
        "pd": lambda: gallery.nearest(q, BLOCK)[1],
        "pd any_above": lambda: gallery.any_above(q, 0.8, BLOCK),
        "torch_fp32": lambda: torch_fp32(q, r),
        "gemm": lambda: bare_gemm(ql, rl),
    }
    if device == "cpu":
        import faiss
        from sklearn.neighbors import NearestNeighbors

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        brute = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
        runs["faiss"] = lambda: index.search(queries, 1)[1][:, 0]
        # On unit rows the nearest by Euclidean distance is the nearest by cosine.
        runs["sklearn"] = lambda: brute.kneighbors(queries, return_distance=False)[:, 0]
    return runs


def measure(kind: str, args: argparse.Namespace) -> dict[str, object]:
    queries, rows = make(kind, args.queries, args.rows, args.dim)
    runs = contenders(queries, rows, args.device)
    wanted = (queries[:64].astype(np.float64) @ rows.astype(np.float64).T).argmax(1)
    np.testing.assert_array_equal(np.asarray(runs["pd"]())[:64], wanted)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(args.repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    work = 2 * args.queries * args.rows * args.dim
    print(f"\n{kind}: {args.queries} x {args.rows} x {args.dim}, {args.device}, {torch.get_num_threads()} threads")
    for name, value in sorted(median.items(), key=lambda item: item[1]):
        print(f"  {name:14}{value:9.3f} s{work / value / 1e9:10.0f} GFLOP/s")
    ratios: dict[str, object] = {
        f"vs_{name}": round(median[name] / median["pd"], 3) for name in ("torch_fp32", "faiss", "sklearn") if name in median
    }
    return ratios | {"fraction_of_gemm": round(median["gemm"] / median["pd"], 3), "seconds": median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    args = parser.parse_args()
    if args.last:
        print(RESULT.read_text(encoding="utf-8").strip())
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    line = json.dumps(
        {kind: measure(kind, args) for kind in ("random", "clustered")}
        | {
            "size": [args.queries, args.rows, args.dim],
            "threads": torch.get_num_threads(),
            "screen": str(best_dtype(torch.device(args.device))),
            "machine": torch.cuda.get_device_name()
            if args.device.startswith("cuda")
            else platform.processor() or platform.machine(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "faiss-cpu", "scikit-learn")},
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit,
        },
        sort_keys=True,
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
