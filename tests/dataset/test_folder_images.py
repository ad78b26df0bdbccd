import numpy as np
import pytest

from pd.dataset.folder_images import decode_images, folder_images
from pd.errors import UserError


def test_nested_images_in_order(people, photo, settings):
    root = people(n=2, each=1)
    photo(7, 16, 16).save(root / "top.bmp")
    (root / "notes.txt").touch()
    files = folder_images(root)
    assert [name for name, _ in files] == ["top.bmp", "p0/0.png", "p1/0.png"]
    assert files[1][1] == (root / "p0" / "0.png").read_bytes()
    found = decode_images(files, settings(), str(root))
    assert found.names == ["top.bmp", "p0/0.png", "p1/0.png"]
    assert found.images.shape == (3, 16, 16, 1)
    assert np.array_equal(found.images[0, :, :, 0], np.asarray(photo(7, 16, 16)))
    assert found.bad == []


def test_bad_images_stop_or_are_set_aside(people, settings):
    root = people(n=2, each=1)
    (root / "p0" / "0.png").write_bytes(b"hello")
    (root / "p0" / "empty.png").touch()
    files = folder_images(root)
    with pytest.raises(UserError, match=r"2 bad images .*the first: p0/0.png: not an image"):
        decode_images(files, settings(), str(root))
    found = decode_images(files, settings(on_bad_image="skip"), str(root))
    assert found.names == ["p1/0.png"]
    assert [(row.name, row.reason) for row in found.bad] == [("p0/0.png", "not an image"), ("p0/empty.png", "empty")]


def test_nothing_usable(tmp_path, settings):
    with pytest.raises(UserError, match="no image in this folder"):
        folder_images(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        folder_images(tmp_path / "none")
    with pytest.raises(UserError, match="no usable image"):
        decode_images([("a.png", b"hello")], settings(on_bad_image="skip"), "here")


def test_links_out_of_the_folder_are_refused(people, photo, tmp_path):
    root = people(n=1, each=1)
    photo(9).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match="link that leads out"):
        folder_images(root)
