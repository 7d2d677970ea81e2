"""llama-cpp-python as far as the comparison uses it; see peer_file.py for what it computes."""

import numpy as np
import peer_file

__version__ = "9.9"


class Llama:
    """Evaluates nothing: logits are all alike."""

    def __init__(self, path, *, n_ctx, n_threads, logits_all, **_options):
        self._file = peer_file.read(path)
        self._file.note(threads=n_threads, context=n_ctx)
        self._num_tokens = 0
        self.scores = np.zeros((n_ctx if logits_all else 1, self._file.vocab_size))

    def reset(self):
        self._num_tokens = 0

    def eval(self, token_ids):
        self._num_tokens += len(token_ids)
        self._file.note(evaluated=len(token_ids), total=self._num_tokens)

    def tokenize(self, text, *, add_bos, special):
        assert isinstance(text, bytes)
        assert not add_bos
        assert not special
        return self._file.token_ids
