"""What `pd doctor` looks at before a long run: a file for each kind of check, none of which changes anything for good."""
