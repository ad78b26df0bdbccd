"""Work out labels from the votes of annotators, or from few labels. Takes what `pd labels` takes.

Examples: `ray job submit --working-dir . -- python ray_jobs/labels.py --votes /shared/votes.csv --out /shared/labels`;
`ray job submit --working-dir . -- python ray_jobs/labels.py --images /shared/i.parquet --labels kind --method semi_vit
--out /shared/labels`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("labels", *sys.argv[1:])
