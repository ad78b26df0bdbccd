"""Check the cluster, its storage and the data before a long run, from where its jobs run.

Example: `ray job submit --working-dir . -- python ray_jobs/doctor.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("doctor")
