"""Run every stage that is not done yet, to `private/report.html` and `release/`.

Example: `ray job submit --working-dir . -- python ray_jobs/pipeline.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("run")
