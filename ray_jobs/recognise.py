"""Train a recogniser and say how well it sees. Takes what `pd recognise` takes.

Example: `ray job submit --working-dir . -- python ray_jobs/recognise.py --train /shared/a --test /shared/b --out /shared/c`
"""

import sys

from job import pass_on

if __name__ == "__main__":
    pass_on("recognise", *sys.argv[1:])
