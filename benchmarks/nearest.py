"""Is exact search with a screen faster than brute force? Medians of interleaved runs, on random and clustered galleries.

    python benchmarks/nearest.py                           # three sizes; about a quarter of an hour on two cores
    python benchmarks/nearest.py --size 4096 100000 512    # one: queries, gallery rows, dimensions
    python benchmarks/nearest.py --last                    # print the stored figures without running

Every contender gets the same threads. `fraction_of_gemm` sets one bare matrix product of the same size, in the screen's
precision, against our whole search. `pd fp32` screens in float32, as it does on hardware without instructions for bfloat16. The
ratios in front are the worst of all sizes and galleries.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.reid.gallery import Gallery
from pd.reid.screen import best_dtype

BLOCK = 8192
SIZES = {(1024, 20_000, 128): 9, (4096, 100_000, 512): 3, (20_000, 200_000, 512): 1}  # and how often each is repeated
SHORT = 1e12  # operations up to which a first round warms up
PEERS = ("torch_fp32", "faiss", "sklearn")


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
    gallery, plain = Gallery(rows, device=device), Gallery(rows, device=device, screen=torch.float32)
    q, r = torch.from_numpy(queries).to(device), torch.from_numpy(rows).to(device)
    low = best_dtype(q.device)
    ql, rl = q.to(low), r.to(low)
    runs: dict[str, Callable[[], object]] = {
        "pd": lambda: gallery.nearest(q)[1],
        "pd fp32": lambda: plain.nearest(q)[1],
        "pd any_above": lambda: gallery.any_above(q, 0.8),
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


def measure(kind: str, size: tuple[int, int, int], repeats: int, device: str, console: Console) -> dict[str, object]:
    """Medians of one size, as ratios of seconds: above 1, we are faster."""
    queries, rows = make(kind, *size)
    runs = contenders(queries, rows, device)
    wanted = (queries[:64].astype(np.float64) @ rows.astype(np.float64).T).argmax(1)
    np.testing.assert_array_equal(np.asarray(runs["pd"]())[:64], wanted)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    operations = 2 * float(np.prod(size, dtype=np.float64))
    warm_up = int(operations <= SHORT)
    for repeat in range(repeats + warm_up):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    table = Table(title=f"{kind}, {' x '.join(map(str, size))}, {device}, {torch.get_num_threads()} threads, {repeats} repeats")
    for heading in ("", "median s", "GFLOP/s", "pd is faster by"):
        table.add_column(heading, justify="right")
    for name, value in sorted(median.items(), key=lambda item: item[1]):
        speed = operations / value / 1e9
        table.add_row(name, f"{value:.3f}", f"{speed:.0f}", f"{value / median['pd']:.2f}")
    console.print(table)
    ratios: dict[str, object] = {f"vs_{name}": round(median[name] / median["pd"], 3) for name in PEERS if name in median}
    ratios["fp32_screen_vs_torch_fp32"] = round(median["torch_fp32"] / median["pd fp32"], 3)
    ratios["fraction_of_gemm"] = round(median["gemm"] / median["pd"], 3)
    return ratios | {"gflops": round(operations / median["pd"] / 1e9), "seconds": median, "repeats": repeats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, metavar=("QUERIES", "ROWS", "DIM"), help="one size instead of three")
    parser.add_argument("--repeats", type=int, help="9, 3 and 1 otherwise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    args = parser.parse_args()
    if args.last:
        print_last("nearest")
        return
    console = Console(width=100)
    sizes = {tuple(args.size): 3} if args.size else SIZES
    found = {
        " x ".join(map(str, size)): {
            kind: measure(kind, size, args.repeats or repeats, args.device, console) for kind in ("random", "clustered")
        }
        for size, repeats in sizes.items()
    }
    every = [figures for kinds in found.values() for figures in kinds.values()]
    ratios = [name for name in every[0] if name.startswith(("vs_", "fp32_", "fraction_"))]
    worst = {name: min(figures[name] for figures in every) for name in ratios}
    setting = {
        "threads": torch.get_num_threads(),
        "screen": str(best_dtype(torch.device(args.device))),
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
    }
    store("nearest", {**worst, "sizes": found, **setting})


if __name__ == "__main__":
    main()
