"""The run whose release is proven."""

from reported import captions, faces, report_data, whole_data  # noqa: F401 - fixtures
