"""Public layouts, each a few lines of mapping over the manifest's reader. docs/formats.md cites their documentation."""
