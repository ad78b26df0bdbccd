import torch
from refusals import refused_as

from pd.diffusion import tokenizer
from pd.diffusion.captions import CaptionTable, embed
from pd.diffusion.components import Components

CAPTIONS = ["with glasses", "", "with a beard", "with glasses"]


def test_each_caption_is_tokenised_once_and_found_again() -> None:
    words = tokenizer.build()
    table = CaptionTable(words, CAPTIONS)
    assert table.tokens.shape == (3, 77)
    assert torch.equal(table.tokens[table.rows], tokenizer.tokenize(words, CAPTIONS))


def test_dropped_captions_are_empty_and_only_what_is_used_comes() -> None:
    words = tokenizer.build()
    tokens, rows = CaptionTable(words, CAPTIONS).batch(torch.tensor([3, 0, 2]), torch.tensor([False, False, True]))
    assert len(tokens) == 2
    assert torch.equal(tokens[rows], tokenizer.tokenize(words, ["with glasses", "with glasses", ""]))


def test_embeddings_are_the_text_models(components: Components) -> None:
    tokens = tokenizer.tokenize(components.tokenizer, CAPTIONS)
    with torch.no_grad():
        expected = components.text_encoder(tokens).last_hidden_state
    torch.testing.assert_close(embed(components.text_encoder, tokens, batch=3), expected)


def test_captions_that_are_too_long_are_counted_and_refused_without_their_text() -> None:
    words = tokenizer.build()
    captions = ["zebra", "fine", "face " * 76, "a", "face " * 76]
    with refused_as("bad-captions", "2", "5", "77", "78") as caught:
        CaptionTable(words, captions)
    assert "training image 2, counted from 0" in str(caught.value)
    assert "truncate_captions: true" in str(caught.value)
    assert "face" not in str(caught.value)
    assert CaptionTable(words, ["face " * 75]).truncated == 0


def test_captions_that_are_too_long_are_cut_where_that_is_asked_for() -> None:
    words = tokenizer.build()
    captions = ["fine", "face " * 76, "face " * 90]
    table = CaptionTable(words, captions, truncate=True)
    assert table.truncated == 2
    assert torch.equal(table.tokens[table.rows], tokenizer.tokenize(words, captions))
