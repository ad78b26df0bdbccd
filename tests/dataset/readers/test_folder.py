from refusals import refused_as

from pd.dataset.readers.folder import folder
from pd.dataset.readers.source import BadRow, Row


def test_sub_folders_are_people(people):
    rows = list(folder(people(n=3, each=2)).rows())
    assert [row.name for row in rows] == ["p0/0.png", "p0/1.png", "p1/0.png", "p1/1.png", "p2/0.png", "p2/1.png"]
    assert [row.identity for row in rows] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert all(isinstance(row, Row) and row.key == row.name and row.caption is None for row in rows)


def test_hidden_and_other_files(people, photo):
    root = people(n=2, each=1)
    photo(50).save(root / "p0" / "x.JPG", "JPEG")
    (root / "p0" / ".hidden.png").touch()
    (root / ".git").mkdir()
    (root / ".git" / "x.png").touch()
    (root / "p0" / "notes.txt").touch()
    (root / "README").touch()
    source = folder(root)
    assert [(row.name, row.identity) for row in source.rows()] == [
        ("p0/0.png", "p0"),
        ("p0/x.JPG", "p0"),
        ("p1/0.png", "p1"),
    ]
    assert source.ignored == {".txt": 1, "no suffix": 1}


def test_what_belongs_to_nobody_or_leads_out(people, photo, tmp_path):
    root = people(n=2, each=1)
    photo(60).save(root / "stray.png")
    photo(61).save(tmp_path / "secret.png")
    (root / "p0" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "p1" / "all").symlink_to(tmp_path)
    bad = {row.name: row.reason for row in folder(root).rows() if isinstance(row, BadRow)}
    assert bad == {
        "stray.png": "no identity",
        "p0/link.png": "outside the folder",
        "p1/all": "outside the folder",
    }


def test_wrong_places(tmp_path):
    with refused_as("no-such-folder"):
        folder(tmp_path / "none")
    (tmp_path / "file.csv").touch()
    with refused_as("no-such-folder"):
        folder(tmp_path / "file.csv")
    (tmp_path / "empty" / "who").mkdir(parents=True)
    with refused_as("no-images"):
        folder(tmp_path / "empty")


def test_patients_in_folders_of_thousands_are_not_ten_people(photo, tmp_path):
    for group in range(10, 20):
        for patient in range(3):
            study = tmp_path / f"p{group}" / f"p{group}00{patient}032" / "s50414267"
            study.mkdir(parents=True)
            photo(group + patient).save(study / "x.jpg", "JPEG")
    with refused_as("ambiguous-layout", "10", "'p10/p10000032/s50414267'"):
        folder(tmp_path)
