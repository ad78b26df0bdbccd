"""The Arrow schema of images in Parquet, as Hugging Face `datasets` reads it."""

import json
from collections.abc import Iterable

import pyarrow as pa

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""The Hugging Face image struct: an encoded image and the name it goes by."""


def image_schema(fields: Iterable[tuple[str, pa.DataType]]) -> pa.Schema:
    """A schema of these columns whose `image` column (of type IMAGE) `datasets.load_dataset` decodes as images.

    `datasets` takes the features it finds under the key `huggingface` and infers those of all other columns.
    """
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return pa.schema(list(fields), metadata={"huggingface": json.dumps(features)})
