"""Screen clips of video for forgeries. Takes what `pd screen` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/screen.py --real /shared/real --clips /shared/new --out /shared/out`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("screen", *sys.argv[1:])
