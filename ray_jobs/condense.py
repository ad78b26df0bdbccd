"""Condense a run's kept candidates, or anybody's images. Takes what `pd condense` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/condense.py --images /shared/a.parquet --label x --out /shared/b`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("condense", *sys.argv[1:])
