"""Search the filter's thresholds on the scores of a run; `--set sweep.full=8` trains short students too.

Example: `ray job submit --working-dir . -- python ray_jobs/sweep.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("sweep")
