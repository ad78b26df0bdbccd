"""Train the student on the kept candidates and nothing else.

Example: `ray job submit --working-dir . -- python ray_jobs/student.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("student")
