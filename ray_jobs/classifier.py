"""Train a run's private classifier, or one of anybody's images. Takes what `pd classifier` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/classifier.py --images /shared/a.parquet --label x --out /shared/b`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("classifier", *sys.argv[1:])
