"""What the fixture `generated` holds."""

ROWS = 60
NEAREST = [f"image-{k % 5}" for k in range(ROWS)]
IDENTITY_OF = {"image-0": "ann", "image-1": "ann", "image-2": "bob", "image-3": "cid", "image-4": "dan", "image-5": "eve"}
