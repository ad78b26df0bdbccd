"""`python -m pd` is `pd`."""

from pd.cli.entry import main

if __name__ == "__main__":
    main()
