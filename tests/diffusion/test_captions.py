import torch

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
