"""Hostile inputs that coverage chooses: bytes that reach new lines of the readers are kept, and altered further.

    python benchmarks/fuzz_guided.py --seconds 60     # for each reader; needs the package atheris, which pd does not install
    python benchmarks/fuzz_guided.py --last           # print the stored figures without running

What is watched for new lines: pd's readers, and the libraries below them as far as they are Python: tarfile, Pillow's formats,
PyYAML.
The properties are those of `fuzz.py`.
"""

import argparse
import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import print_last, store

ROOT = Path(__file__).parent.parent
READERS = ("image", "tar", "parquet", "manifest", "settings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--part", nargs=2, metavar=("READER", "CORPUS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("fuzz_guided")
    elif importlib.util.find_spec("atheris") is None:
        sys.exit("the package atheris is not installed: pip install atheris")
    elif arguments.part:
        _feed(arguments.part[0], arguments.part[1], arguments.seconds)
    else:
        _all(arguments.seconds)


def _all(seconds: int) -> None:
    inputs, failed = {}, []
    for reader in READERS:
        with tempfile.TemporaryDirectory(prefix="pd-fuzz-") as scratch:
            words = [sys.executable, __file__, "--seconds", str(seconds), "--part", reader, scratch]
            done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=scratch)
        found = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        inputs[reader] = int(found[1]) if found else 0
        if done.returncode or not found:
            failed.append(reader)
            print(done.stderr[-3000:], file=sys.stderr)
        print(reader, inputs[reader], file=sys.stderr)
    store("fuzz_guided", {"inputs": sum(inputs.values()), "failed": failed, "by_reader": inputs, "seconds_each": seconds})


def _feed(reader: str, corpus: str, seconds: int) -> None:
    """Let libFuzzer lead one reader, in this process; it ends with an error at the first failure."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests"))
    watched = ["pd.dataset", "pd.config", "pd.store.paths", "tarfile", "yaml", "PIL"]
    with atheris.instrument_imports(include=watched):
        import tarfile  # noqa: F401

        import PIL.Image
        import yaml  # noqa: F401
        from hostile import inputs

        from pd.config import DataSettings, load_settings
        from pd.dataset.decode import BadImage, decode, load, quiet
        from pd.dataset.external import list_images, read_images
        from pd.dataset.readers.manifest import manifest
        from pd.errors import UserError
        from pd.store.places import Place

        PIL.Image.init()
    data, rng = DataSettings(size=16, max_pixels=10_000, on_bad_image="skip"), np.random.default_rng(0)
    scratch = Path(tempfile.mkdtemp(prefix="pd-fuzz-"))
    names = {"tar": "s.tar", "parquet": "s.parquet", "manifest": "m.csv", "settings": "pd.yaml"}

    def feed(given: bytes) -> None:
        if reader == "image":
            with contextlib.suppress(BadImage):
                decode(load(given, data), data)
            return
        path = scratch / names[reader]
        path.write_bytes(given)
        with contextlib.suppress(UserError):
            if reader == "settings":
                load_settings(path)
            elif reader == "manifest":
                list(manifest(path).rows())
            else:
                place = Place.parse(str(scratch))
                list(read_images(place, list_images(place), data))

    makers = {"tar": inputs.tar, "parquet": inputs.parquet, "manifest": inputs.manifest_csv}
    for number in range(20):
        root = scratch / "seeds" / str(number)
        root.mkdir(parents=True)
        (root / "secret.png").touch()
        if reader == "image":
            seed = inputs.pictures()[number % len(inputs.pictures())]
        elif reader == "settings":
            seed = [b"seed: 8\n", b"teacher: &a {steps: 5}\nstudent: *a\n", b"data:\n  caption: x\n  size: 32\n"][number % 3]
        else:
            made = makers[reader](root, rng)
            seed = (made if made.is_file() else made / names[reader]).read_bytes()
        Path(corpus, str(number)).write_bytes(seed)
    shutil.rmtree(scratch / "seeds")
    words = [f"-max_total_time={seconds}", "-print_final_stats=1", "-rss_limit_mb=4096", "-timeout=20", "-max_len=20000"]
    with quiet():
        atheris.Setup([sys.argv[0], *words, corpus], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
