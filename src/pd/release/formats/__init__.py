"""The kept images in other formats than Parquet. Equal rows give equal files, so that `pd verify` can write them again."""
