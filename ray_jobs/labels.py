"""Work out labels from votes. Takes what `pd labels` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/labels.py --votes /shared/votes.csv --out /shared/labels`
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from pd.cli import main

    sys.argv = ["pd", "labels", *sys.argv[1:]]
    main()
