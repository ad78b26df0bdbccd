"""Decide which candidates stay.

Example: `ray job submit --working-dir . -- python ray_jobs/filter.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("filter")
