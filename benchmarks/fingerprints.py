"""What do k images with a canary leave behind? The faces example with planted canaries: how often both models show them.

    python benchmarks/fingerprints.py            # one seed; as long as the example without its audit
    python benchmarks/fingerprints.py --last     # print the stored figures without running

Every seed puts the canaries elsewhere and draws other people. A canary's share counts against its control's, another one at the
same place that was planted in no image.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from harness import print_last, store

from pd.config import load_settings

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "faces.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--repetitions", default="1,2,4,8,16,32,64")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "fingerprints", help="folder of the runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("fingerprints")
        return
    figures = {}
    for seed in arguments.seeds:
        sets = [f"runs={arguments.runs}", *arguments.set, f"seed={seed}", f"name=seed{seed}"]
        words = [word for item in sets for word in ("--set", item)]
        pd = Path(sys.executable).with_name("pd")
        done = subprocess.run(
            [pd, "fingerprint", arguments.config, "--repetitions", arguments.repetitions, *words], check=False
        )
        if done.returncode:
            sys.exit(f"seed {seed}: `pd fingerprint` ended with {done.returncode}")
        ordinary = load_settings(arguments.config, sets).run_dir
        path = ordinary.with_name(f"{ordinary.name}-fingerprints") / "private" / "fingerprints.json"
        figures[str(seed)] = json.loads(path.read_text(encoding="utf-8"))
    store("fingerprints", {"settings": arguments.set, "seeds": figures})


if __name__ == "__main__":
    main()
