"""Sample the teacher and score every candidate against the members.

Example: `ray job submit --working-dir . -- python ray_jobs/generate.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("generate")
