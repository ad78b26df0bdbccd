"""`python -m pd.cli`."""

from pd.cli import main

main()
