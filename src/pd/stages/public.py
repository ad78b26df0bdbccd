"""The people of the section `public`: read, and refused where they are the private ones in disguise."""

from pd.config import DataSettings, Settings
from pd.dataset.decode import picture_digest
from pd.dataset.parquet_images import Images, blocks
from pd.dataset.people import People, read_people
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.formal.public import refuse_private

WHERE = "public.path"


def public_people(settings: Settings, real: PrivateDataset) -> People | None:
    """Public people at the private pictures' size and mode; None without such a section.

    Raises:
        UserError: they cannot be read, are fewer than two, or share people or pictures with the private set.
    """
    if settings.public is None:
        return None
    found = read_people(public_data(settings))
    if len(set(found.identities)) < 2:
        raise UserError(
            "one person only",
            code="too-few-people",
            where=WHERE,
            fix="name a folder with a sub-folder for each person, or a manifest with `identity`",
        )
    refuse_same(found, real)
    return found


def public_data(settings: Settings) -> DataSettings:
    """How the public pictures are read."""
    assert settings.public is not None
    public = {"reader": settings.public.reader, "path": settings.public.path, "on_bad_image": "skip"}
    kept = settings.data.model_dump(include={"size", "mode", "resize", "max_pixels"})
    return DataSettings.model_validate({**kept, **public})


def refuse_same(found: People, real: PrivateDataset | People) -> None:
    """Refuse public people who are private ones, by name, by the picture, or nearly.

    Raises:
        UserError: some are; how many is said, not who.
    """
    names = len(set(found.identities) & set(real.identities))
    if names:
        raise UserError(
            f"{names:,} public people have names of private ones",
            code="shared-people",
            where=WHERE,
            fix="take them out, or, where they are others, rename them",
        )
    ours = {picture_digest(image) for image in found.images}
    same = sum(digest in ours for digest in _digests(real.images))
    if same:
        raise UserError(
            f"{same:,} private pictures are among the public ones",
            code="shared-images",
            where=WHERE,
            fix="take them out: an attacker who learns from members is none",
        )
    refuse_private(found.images, real.images, real.identities)


def _digests(images: Images) -> list[bytes]:
    return [picture_digest(image) for _, block in blocks(images) for image in block]
