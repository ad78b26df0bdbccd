"""Small replicas of public layouts: names, columns and quirks as the sets' documentation has them, with noise for pictures."""

import gzip
import io
import json
import struct
import tarfile

import numpy as np
import pytest
from bucket import BUCKET
from PIL import Image
from refusals import refused_as

from pd.config import ColumnSettings, DataSettings, parse_settings
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.readers.choose import PRESETS, open_source
from pd.dataset.readers.presets.chest import OBSERVATIONS
from pd.dataset.readers.source import Row
from pd.errors import UserError
from pd.store.files import digest_folder

PEOPLE = 7


def picture(number, size=24, bits=8):
    rng = np.random.default_rng(number)
    if bits == 16:
        return Image.fromarray(rng.integers(0, 65536, (size, size)).astype(np.uint16))
    return Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8))


def save(path, number, bits=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number, bits=bits).save(path)


def nih(root):
    lines = [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    ]
    findings = ["Cardiomegaly|Emphysema", "No Finding", "Hernia"]
    for n in range(PEOPLE * 2):
        name = f"{n // 2 + 1:08d}_{n % 2:03d}.png"
        save(root / f"images_{n % 2 + 1:03d}" / "images" / name, n)
        lines.append(f"{name},{findings[n % 3]},{n % 2},{n // 2 + 1},058,M,PA,2682,2749,0.143,0.143,")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")


def chexpert(root):
    head = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(OBSERVATIONS)
    for table, people in (("train", range(PEOPLE - 1)), ("valid", [64540])):
        lines = [head]
        for n in people:
            for number, view in enumerate(("view1_frontal", "view2_lateral")):
                name = f"{table}/patient{n + 1:05d}/study1/{view}.jpg"
                save(root / name, n * 2 + number)
                # Cardiomegaly uncertain, Edema present, Pneumonia not mentioned, Fracture ruled out
                said = {"Cardiomegaly": "-1.0", "Edema": "1.0", "Fracture": "0.0"}
                values = [said.get(name, "") for name in OBSERVATIONS]
                side = "Frontal,AP" if view == "view1_frontal" else "Lateral,"
                lines.append(f"CheXpert-v1.0-small/{name},Female,68,{side},{','.join(values)}")
        (root / f"{table}.csv").write_text("\n".join(lines) + "\n")


def mimic(root):
    metadata = ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime"]
    findings = ["subject_id,study_id," + ",".join(sorted(OBSERVATIONS))]
    for n in range(PEOPLE):
        subject, study = 10000032 + n * 1_000_000, 50414267 + n
        for view in range(2):
            name = f"{n:08x}-{view:08x}-aaaaaaaa-bbbbbbbb-cccccccc"
            save(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{name}.jpg", n * 2 + view)
            metadata.append(f"{name},{subject},{study},CHEST (PA AND LAT),{'PA' if view else ''},3056,2544,21800506,213014.531")
        if n:  # the first study has no report, and no findings
            said = {"Atelectasis": "1.0", "Edema": "-1.0"}
            findings.append(f"{subject},{study}," + ",".join(said.get(name, "") for name in sorted(OBSERVATIONS)))
    for name, lines in (("metadata", metadata), ("chexpert", findings)):
        with gzip.open(root / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")


def padchest(root):
    lines = [",ImageID,ImageDir,StudyID,PatientID,PatientSex_DICOM,Projection,Report,Labels"]
    for n in range(PEOPLE):
        name = f"2168402_{n}.png"
        save(root / str(n % 3) / name, n, bits=16)
        labels = "\"['pleural effusion', ' cardiomegaly']\"" if n % 2 else "['normal']"
        lines.append(f"{n},{name},{n % 3},s{n},{839860488694293331637988 + n},M,PA,sin hallazgos .,{labels}")
    (root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv").write_text("\n".join(lines) + "\n")


def lfw(root):
    for n in range(PEOPLE):
        save(root / "lfw_funneled" / f"Person_{n}" / f"Person_{n}_0001.jpg", n)
    (root / "lfw_funneled" / "pairs.txt").write_text("10\t300\n")


def celeba(root):
    people, attributes = [], [str(PEOPLE), "5_o_Clock_Shadow Eyeglasses Young "]
    for n in range(PEOPLE):
        save(root / "img_align_celeba" / f"{n + 1:06d}.jpg", n)
        people.append(f"{n + 1:06d}.jpg {2880 + n}")
        attributes.append(f"{n + 1:06d}.jpg -1  {1 if n % 2 else -1}  1")
    (root / "identity_CelebA.txt").write_text("\n".join(people) + "\n")
    (root / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")


def fashion(root):
    for part, count in (("train", PEOPLE), ("t10k", 2)):
        pixels = np.stack([np.asarray(picture(n + (100 if part == "t10k" else 0), 28)) for n in range(count)])
        with gzip.open(root / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4I", 2051, count, 28, 28) + pixels.tobytes())
        with gzip.open(root / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">2I", 2049, count) + bytes([9, *range(count - 1)]))


def imagefolder(root):
    for part in ("train", "test"):
        lines = []
        for n in range(PEOPLE):
            save(root / part / "pictures" / f"{n}.png", n + (50 if part == "test" else 0))
            said = {"file_name": f"pictures/{n}.png", "identity": f"0{n}", "text": "x", "age": n + 0.5, "box": [1, 2]}
            lines.append(json.dumps(said))
        (root / part / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def webdataset(root):
    for shard in range(2):
        with tarfile.open(root / f"shard-{shard:06d}.tar", "w") as tar:
            for n in range(PEOPLE):
                out = io.BytesIO()
                picture(shard * 100 + n).save(out, "PNG")
                who = json.dumps({"identity": f"p{n}", "age": n, "nested": {"a": 1}})
                for suffix, data in ((".PNG", out.getvalue()), (".txt", b"a scan "), (".Json", who.encode())):
                    info = tarfile.TarInfo(f"./{n}.0{shard}{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


MAKE = {
    "nih_chestxray14": nih,
    "chexpert": chexpert,
    "mimic_cxr": mimic,
    "padchest": padchest,
    "lfw": lfw,
    "celeba": celeba,
    "fashion_mnist": fashion,
    "imagefolder": imagefolder,
    "webdataset": webdataset,
}


def rows_of(preset, root, **more):
    MAKE[preset](root)
    source = open_source(DataSettings(preset=preset, path=root, **more))
    rows = list(source.rows())
    assert all(isinstance(row, Row) for row in rows), rows
    assert len(rows) == source.total
    return source, rows


def test_every_preset_has_a_replica():
    assert set(MAKE) == set(PRESETS)


@pytest.mark.parametrize("preset", MAKE)
def test_a_replica_can_be_ingested(preset, tmp_path):
    (tmp_path / "set").mkdir()
    MAKE[preset](tmp_path / "set")
    report = ingest(DataSettings(preset=preset, path=tmp_path / "set", size=24), 7, tmp_path / "out")
    assert not report.bad
    assert sum(report.identities.values()) == (PEOPLE + 2 if preset == "fashion_mnist" else PEOPLE)
    assert len(PrivateDataset.read(tmp_path / "out")) == sum(report.images.values())


@pytest.mark.parametrize("preset", ["nih_chestxray14", "mimic_cxr", "celeba", "webdataset", "imagefolder"])
def test_a_replica_in_a_bucket(preset, s3, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / preset).mkdir()
    MAKE[preset](tmp_path / preset)
    s3.upload(tmp_path / preset)

    def read(path, out):
        settings = parse_settings({"data": {"preset": preset, "path": str(path), "size": 24}}).data
        return ingest(settings, 7, tmp_path / out)

    assert read(f"s3://{BUCKET}/{preset}", "there") == read(tmp_path / preset, "here")
    assert digest_folder(tmp_path / "there") == digest_folder(tmp_path / "here")


def test_nih(tmp_path):
    _, rows = rows_of("nih_chestxray14", tmp_path)
    assert rows[0].labels == {
        "Patient Age": 58,
        "Patient Gender": "M",
        "View Position": "PA",
        "Cardiomegaly": 1,
        "Emphysema": 1,
        "Hernia": 0,
        "No Finding": 0,
    }
    assert (rows[1].identity, rows[1].key) == ("1", "images_002/images/00000001_001.png")
    assert rows[0].caption is None  # one is built from the findings that enough patients share


def test_nih_of_2017_writes_ages_in_years(tmp_path):
    nih(tmp_path)
    old, new = tmp_path / "Data_Entry_2017.csv", tmp_path / "Data_Entry_2017_v2020.csv"
    old.write_text(new.read_text().replace(",058,", ",058Y,").replace(",058Y,", ",011M,", 1).replace(",058Y,", ",,", 1))
    new.unlink()
    rows = list(open_source(DataSettings(preset="nih_chestxray14", path=tmp_path)).rows())
    assert [row.labels["Patient Age"] for row in rows[:3]] == [0, None, 58]


def test_chexpert_keeps_uncertain_and_not_mentioned_apart(tmp_path):
    _, rows = rows_of("chexpert", tmp_path)
    labels = rows[0].labels
    assert (labels["Cardiomegaly"], labels["Edema"], labels["Fracture"], labels["Pneumonia"]) == (-1.0, 1.0, 0.0, None)
    assert (labels["Sex"], labels["Age"], labels["AP/PA"], rows[1].labels["AP/PA"]) == ("Female", 68.0, "AP", "")
    assert rows[0].identity == "patient00001"
    assert rows[0].key == "train/patient00001/study1/view1_frontal.jpg"
    ingest(DataSettings(preset="chexpert", path=tmp_path, size=24), 7, tmp_path / "out")
    kept = PrivateDataset.read(tmp_path / "out").labels
    assert set(kept["Cardiomegaly"]) == {-1.0}
    assert "Pneumonia" not in kept or np.isnan(kept["Pneumonia"]).all()


def test_mimic_joins_pictures_and_studies(tmp_path):
    _, rows = rows_of("mimic_cxr", tmp_path)
    assert rows[0].key.startswith("files/p10/p10000032/s50414267/")
    assert rows[0].labels["Atelectasis"] is None
    assert (rows[2].identity, rows[2].labels["Atelectasis"], rows[2].labels["Edema"]) == ("11000032", 1.0, -1.0)
    assert rows[3].labels["ViewPosition"] == "PA"


@pytest.mark.parametrize("above", ["", "mimic-cxr-reports"])
def test_mimic_with_its_reports(above, tmp_path):
    mimic(tmp_path)
    how = DataSettings(preset="mimic_cxr", path=tmp_path, caption="report", size=24)
    with refused_as("no-such-file"):
        open_source(how)
    for n in range(1, PEOPLE):
        file = tmp_path / above / f"files/p{10 + n}/p{10000032 + n * 1_000_000}/s{50414267 + n}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"FINAL REPORT\n FINDINGS: Edema {n}.\n")
    rows = list(open_source(how).rows())
    assert [row.caption for row in rows[:4]] == [None, None, *["FINAL REPORT\n FINDINGS: Edema 1."] * 2]
    before = fingerprint(how)
    file.write_text("FINDINGS: none.")
    assert fingerprint(how) != before
    assert next(iter(open_source(DataSettings(preset="mimic_cxr", path=tmp_path)).rows())).caption is None


def test_padchest(tmp_path):
    _, rows = rows_of("padchest", tmp_path)
    assert (rows[1].labels["cardiomegaly"], rows[1].labels["pleural effusion"], rows[1].labels["normal"]) == (1, 1, 0)
    assert rows[0].labels["normal"] == 1
    assert rows[1].identity == "839860488694293331637989"  # 80 bits: never a number
    assert rows[1].key == "1/2168402_1.png"
    assert rows[0].caption == "sin hallazgos ."


def test_lfw(tmp_path):
    source, rows = rows_of("lfw", tmp_path)
    assert [row.identity for row in rows] == [f"Person_{n}" for n in range(PEOPLE)]
    assert source.ignored == {".txt": 1}


def test_celeba(tmp_path):
    _, rows = rows_of("celeba", tmp_path)
    assert rows[1].labels == {"5_o_Clock_Shadow": 0, "Eyeglasses": 1, "Young": 1}
    assert (rows[1].identity, rows[1].key) == ("2881", "img_align_celeba/000002.jpg")


@pytest.mark.parametrize("inner", ["Img/img_align_celeba", "Img/img_align_celeba/img_align_celeba", "img_celeba"])
def test_celeba_in_the_folders_it_is_published_in(tmp_path, inner):
    celeba(tmp_path)
    (tmp_path / "Anno").mkdir()
    for name in ("identity_CelebA.txt", "list_attr_celeba.txt"):
        (tmp_path / name).rename(tmp_path / "Anno" / name)
    (tmp_path / inner).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "img_align_celeba").rename(tmp_path / inner)
    report = ingest(DataSettings(preset="celeba", path=tmp_path, size=24), 7, tmp_path / "out")
    assert (sum(report.images.values()), report.bad) == (PEOPLE, [])


def test_fashion_mnist(tmp_path):
    _, rows = rows_of("fashion_mnist", tmp_path)
    assert rows[0].labels == {"class": "boot"}
    assert len({row.identity for row in rows}) == len(rows) == PEOPLE + 2
    with Image.open(io.BytesIO(rows[1].data)) as found:
        assert np.array_equal(np.asarray(found), np.asarray(picture(1, 28)))


def test_fashion_mnist_that_lies(tmp_path):
    fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2I", 2049, 2**31)))
    with refused_as("unreadable-file", "IDX"):
        open_source(DataSettings(preset="fashion_mnist", path=tmp_path))


def test_imagefolder(tmp_path):
    _, rows = rows_of("imagefolder", tmp_path)
    assert rows[0].key == "test/pictures/0.png"
    assert (rows[0].identity, rows[0].labels) == ("00", {"text": "x", "age": 0.5})
    columns = ColumnSettings(caption="text")
    assert next(iter(open_source(DataSettings(preset="imagefolder", path=tmp_path, columns=columns)).rows())).caption == "x"


def test_imagefolder_stays_inside(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    save(tmp_path / "secret.png", 1)
    (tmp_path / "set" / "a" / "metadata.jsonl").write_text('{"file_name": "../../secret.png", "identity": "x"}\n')
    (row,) = open_source(DataSettings(preset="imagefolder", path=tmp_path / "set")).rows()
    assert row.reason == "outside the folder"


def test_webdataset_with_dots_capitals_and_a_leading_dot(tmp_path):
    _, rows = rows_of("webdataset", tmp_path)
    assert len(rows) == 2 * PEOPLE
    assert (rows[1].name, rows[1].identity, rows[1].caption, rows[1].labels) == ("1.00.PNG", "p1", "a scan", {"age": 1})
    assert rows[1].data != rows[2].data


def test_webdataset_without_identities_names_its_keys_alone(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for suffix, data in ((".png", b"x"), (".json", b'{"age": 3}'), (".txt", b"said")):
            info = tarfile.TarInfo(f"1{suffix}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with refused_as("no-such-column", "data.columns.identity"):
        open_source(DataSettings(preset="webdataset", path=tmp_path))


def test_webdataset_identity_from_the_name(tmp_path):
    webdataset(tmp_path)
    rows = open_source(DataSettings(preset="webdataset", path=tmp_path, identity_from=r"^(\d+)\.")).rows()
    assert next(iter(rows)).identity == "0"


@pytest.mark.parametrize("preset", MAKE)
def test_another_folder_is_named(preset, tmp_path):
    with pytest.raises(UserError) as caught:
        open_source(DataSettings(preset=preset, path=tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        open_source(DataSettings(preset=preset, path=tmp_path / "none"))


def test_a_preset_needs_a_path():
    with refused_as("bad-options", "data.path"):
        open_source(DataSettings(preset="chexpert"))
