"""Train the re-identification network on the members and build their gallery.

Example: `ray job submit --working-dir . -- python ray_jobs/reid.py --config configs/faces.yaml`
"""

from job import run

if __name__ == "__main__":
    run("reid")
