"""What must be refused: by the code of the error and the values that it names, so that its words may change."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pd.error_codes import Code
from pd.errors import UserError


@contextmanager
def refused_as(code: Code, *named: object) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """The block must raise a `UserError` with this code.

    Args:
        code: the kind of error.
        named: values that the message must hold as whole words: a setting, a file, a row, a number.
    """
    with pytest.raises(UserError) as caught:
        yield caught
    error = caught.value
    assert error.code == code, f"refused as {error.code}, not {code}: {error}"
    for value in map(str, named):
        before, after = (r"(?<!\w)" if value[0].isalnum() else "", r"(?!\w)" if value[-1].isalnum() else "")
        assert re.search(f"{before}{re.escape(value)}{after}", str(error)), f"does not name {value}: {error}"
