"""Token ids to text while they arrive: whole characters only, any tokenizer."""

import codecs

from bilin_engine.tokenizers.base import Tokenizer


class StreamDecoder:
    """Turns ids into text one by one; the pieces joined equal `tokenizer.decode` of all ids.

    Bytes of an unfinished character are held back until it is whole. The space that SentencePiece
    puts before a segment's first word is dropped at the start and after a special, unless
    `continues`: then the ids go on in the middle of a line and their first space is real.
    """

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = False) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._strips = tokenizer.leading_space != "keep" and not continues

    def feed(self, token_id: int) -> str:
        """Text that `token_id` completes; "" while a character is unfinished."""
        data = self._tokenizer.token_bytes(token_id)
        if self._tokenizer.is_special(token_id):
            text = self.flush() + data.decode("utf-8")
            self._strips = self._tokenizer.leading_space != "keep"
            return text
        if self._strips and data:
            if self._tokenizer.leading_space == "all":
                data = data.lstrip(b" ")
                self._strips = not data
            else:
                data = data.removeprefix(b" ")
                self._strips = False
        return self._utf8.decode(data)

    def drop_unfinished(self) -> None:
        """Forgets the bytes that are held back."""
        self._utf8.reset()

    def flush(self) -> str:
        """What is held back, broken bytes as U+FFFD; the decoder is then ready for more."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text
