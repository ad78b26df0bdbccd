"""Work out labels from the votes of annotators. Takes what `pd labels` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/labels.py --votes /shared/votes.csv --out /shared/labels`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("labels", *sys.argv[1:])
