import pytest

from pd.diffusion import tokenizer
from pd.errors import UserError

CAPTIONS = [
    "a photo of a face with glasses, a beard and a moustache",
    "Pneumothorax; 3 cm  (LEFT).",
    "Überströmung's naïve",
    "",
]


def test_ids_are_those_of_open_clip() -> None:
    import open_clip

    words = tokenizer.build()
    assert len(words) == 49_408
    reference = open_clip.SimpleTokenizer()(CAPTIONS)
    ours = tokenizer.tokenize(words, CAPTIONS)
    assert ours.shape == reference.shape == (4, 77)
    for row, expected in zip(ours.tolist(), reference.tolist(), strict=True):
        length = expected.index(49_407) + 1
        assert row[:length] == expected[:length]
        assert set(row[length:]) <= {49_407}  # Stable Diffusion pads with the end token, open_clip with 0


def test_padding_is_that_of_the_stock_pipeline() -> None:
    words = tokenizer.build()
    stock = words(CAPTIONS, padding="max_length", max_length=words.model_max_length, truncation=True, return_tensors="pt")
    assert tokenizer.tokenize(words, CAPTIONS).equal(stock.input_ids)


def test_a_caption_that_is_too_long_is_refused_without_its_text() -> None:
    words = tokenizer.build()
    assert tokenizer.tokenize(words, ["face " * 75]).shape == (1, 77)
    with pytest.raises(UserError, match="more than 77 tokens, the longest 78") as caught:
        tokenizer.tokenize(words, ["fine", "face " * 76])
    assert "face" not in str(caught.value)
    assert "caption 1" in str(caught.value)
