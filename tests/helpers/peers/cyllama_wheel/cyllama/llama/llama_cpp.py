"""Evaluates nothing: logits are all alike. As in cyllama 0.2.18, models do not tell `n_vocab`."""

from types import SimpleNamespace

import peer_file


def disable_logging():
    pass


LlamaContextParams = LlamaModelParams = SimpleNamespace


class LlamaModel:
    def __init__(self, path, _params):
        self.file = peer_file.read(path)

    def get_vocab(self):
        return SimpleNamespace(n_vocab=self.file.vocab_size, tokenize=self._tokenize)

    def _tokenize(self, text, add_special, parse_special):
        assert isinstance(text, str)
        assert not add_special
        assert not parse_special
        return self.file.token_ids


class LlamaBatch:
    def __init__(self, *, n_tokens, embd, n_seq_max):
        assert (embd, n_seq_max) == (0, 1)
        self.capacity = n_tokens

    def set_batch(self, token_ids, n_past, logits_all):
        assert len(token_ids) <= self.capacity
        self.token_ids, self.num_past, self.logits_all = token_ids, n_past, logits_all


class LlamaContext:
    def __init__(self, model, params):
        self._model = model
        model.file.note(threads=params.n_threads, context=params.n_ctx)

    def kv_cache_clear(self):
        pass

    def decode(self, batch):
        self._batch = batch
        total = batch.num_past + len(batch.token_ids)
        self._model.file.note(evaluated=len(batch.token_ids), total=total)

    def synchronize(self):
        pass

    def get_logits_ith(self, index):
        assert self._batch.logits_all
        assert index < len(self._batch.token_ids)
        return [0.0] * self._model.n_vocab
