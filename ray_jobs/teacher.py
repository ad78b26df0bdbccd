"""Train the teacher on the members' images.

Example: `ray job submit --working-dir . -- python ray_jobs/teacher.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("teacher")
