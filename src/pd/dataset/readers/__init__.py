"""Where private images come from: one file per kind of source, each giving a Source of rows."""
