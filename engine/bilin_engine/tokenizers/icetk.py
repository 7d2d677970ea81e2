"""icetk, GLM-130B's tokenizer, id for id.

Text id = piece id + 20000 (ids below are image tokens that GLM-130B's text never uses), specials
from 150000, eos = `</s>` = 20002. Source: icetk 0.0.7 and SwissArmyTransformer 0.2.12,
tokenization/icetk_glm_130B/ice_tokenizer.py. The model file is the user's, under its own licence.
"""

from pathlib import Path

from bilin_engine.errors import ModelBrokenError
from bilin_engine.tokenizers.sentencepiece import NEWLINE_PIECE, SentencePieceTokenizer

NUM_IMAGE_IDS = 20_000
NUM_TEXT_PIECES = 130_000


class IceTokenizer(SentencePieceTokenizer):
    """As the reference: `encode` drops line breaks and reads a typed "<n>" as one.

    `keep_newlines` makes `encode` turn line breaks into `<n>` too. `encode_after` (chat) always
    keeps them and never reads a typed "<n>" as one. NFKC holds: full-width punctuation becomes
    ASCII. Raises ModelBrokenError for a model with another number of pieces: the slimmer ChatGLM
    vocabularies carry the same file name.
    """

    def __init__(self, model_file: Path, *, keep_newlines: bool = False) -> None:
        super().__init__(model_file, first_text_id=NUM_IMAGE_IDS)
        if self.num_pieces != NUM_TEXT_PIECES:
            message = (
                f"the tokenizer file {model_file} has {self.num_pieces} pieces; GLM-130B's "
                f"ice_text.model has {NUM_TEXT_PIECES}"
            )
            raise ModelBrokenError(message)
        self._keep_newlines = keep_newlines

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as `icetk.encode` gives them (ignore_linebreak = not keep_newlines)."""
        if self._keep_newlines:
            text = text.replace("\n", NEWLINE_PIECE)
        return [self._first + i for i in self._pieces.encode(text)]
