"""Who is shown, from where a picture lies: `data.identity_from`."""

import re

EACH = r"(?s:.*)"
"""In place of a pattern: every picture is of a person of its own."""

IF_SAID = r"(?s:\A.*)"
"""In place of a pattern: the source says who is shown; where it does not, nobody is named, and `Row.identity` is empty."""

_LONGEST = 4096  # characters of a path that are looked at, as a file system allows


def identity_of(path: str, how: int | str) -> str:
    """The person that a path names; '' where it names none.

    Args:
        path: relative, with `/`.
        how: a depth, 1 for the first folder of the path; or a regular expression, whose first group, or whole match, it is.
    """
    if isinstance(how, int):
        folders = path.split("/")[:-1]
        return folders[how - 1].strip() if how <= len(folders) else ""
    found = re.search(how, path[:_LONGEST])
    if not found:
        return ""
    return ((found[1] if found.re.groups else found[0]) or "").strip()
