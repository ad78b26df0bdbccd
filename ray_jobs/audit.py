"""Attack the arms of a run and write the figures.

Example: `ray job submit --working-dir . -- python ray_jobs/audit.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("audit")
