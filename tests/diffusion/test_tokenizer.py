from pd.diffusion import tokenizer

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


def test_captions_are_padded_and_cut_as_the_stock_pipeline_does() -> None:
    words = tokenizer.build()
    captions = [*CAPTIONS, "face " * 75, "face " * 76, "beard " * 200]
    stock = words(captions, padding="max_length", max_length=words.model_max_length, truncation=True, return_tensors="pt")
    assert tokenizer.tokenize(words, captions).equal(stock.input_ids)
    assert [len(ids) for ids in tokenizer.token_ids(words, captions)[-3:]] == [77, 78, 202]
