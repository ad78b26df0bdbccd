"""Read the private images into `private/dataset/`, split into members and hold-out.

Example: `ray job submit --working-dir . -- python ray_jobs/ingest.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("ingest")
