"""DICOM files made here, element by element."""

import io

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def made(stored, *, bits=12, signed=False, photometric="MONOCHROME2", **elements):
    """A file with these stored values, (rows, columns), (frames, rows, columns) or (rows, columns, 3)."""
    stored = np.asarray(stored)
    colour = stored.ndim == 3 and stored.shape[2] == 3 and photometric in ("RGB", "YBR_FULL")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = elements.pop("SOPClassUID", DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.PatientID, found.PatientName = elements.pop("PatientID", "007"), "Secret^Name"
    found.Modality = "DX"
    shape = stored.shape if colour or stored.ndim == 2 else stored.shape[1:]
    found.Rows, found.Columns = shape[:2]
    found.SamplesPerPixel = 3 if colour else 1
    if colour:
        found.PlanarConfiguration = 0
    if stored.ndim == 3 and not colour:
        found.NumberOfFrames = len(stored)
    found.PhotometricInterpretation = photometric
    found.BitsAllocated = 8 if bits <= 8 else 16
    found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits - 1, int(signed)
    kind = {(8, False): "u1", (8, True): "i1", (16, False): "<u2", (16, True): "<i2"}[found.BitsAllocated, signed]
    data = stored.astype(kind).tobytes()
    found.PixelData = data + b"\0" * (len(data) % 2)
    found["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def item(**elements):
    found = Dataset()
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def encoded(found):
    """The file's bytes."""
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()


def compressed(found, frames, syntax):
    """The same file with frames that are encoded already."""
    found.file_meta.TransferSyntaxUID = syntax
    found.PixelData = encapsulate(frames)
    found["PixelData"].VR = "OB"
    return found
