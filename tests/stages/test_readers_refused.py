"""Commands that list images as they lie say so where a setting names a reader, which they would not ask."""

import pytest

from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.classifier_images import classifier_of_images
from pd.stages.condense_images import condense_images
from pd.stages.fill_images import fill_images
from pd.stages.label_images import label_images


@pytest.mark.parametrize("given", ["data.preset=celeba", "data.reader=dicom", "data.reader=video"])
def test_a_reader_that_would_not_be_asked_is_refused(given, tmp_path):
    told = (given,), Reporter()
    out, images = tmp_path / "out", str(tmp_path)
    for run in (
        lambda: condense_images(images, "folder", out, *told),
        lambda: classifier_of_images(images, "folder", out, *told),
        lambda: label_images(tmp_path / "votes.csv", images, out, *told),
        lambda: fill_images(images, "sex", None, out, *told),
    ):
        with pytest.raises(UserError, match=r"would not be asked: pd .* reads folders"):
            run()
