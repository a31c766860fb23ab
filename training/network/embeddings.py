"""Initial embedding rows: the encoder's own, or word2vec vectors scaled to their standard deviation.

word2vec: Mikolov et al. 2013, skip-gram with negative sampling, through gensim.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gensim.models import Word2Vec
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.data.vocabulary import Vocabulary


def initial_rows(
    vocabulary: Vocabulary,
    base: Tokenizer,
    base_rows: NDArray[np.float32],
    texts: Sequence[str],
    *,
    seed: int,
    epochs: int = 3,
) -> NDArray[np.float32]:
    """float32[n_pieces, width]; `base_rows` are the pretrained rows of `base`."""
    mean, deviation = base_rows.mean(0), base_rows.std(0)
    rng = np.random.default_rng(seed)
    rows = (mean + deviation * rng.standard_normal((len(vocabulary.pieces), base_rows.shape[1]))).astype(np.float32)
    encodings = vocabulary.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    sentences = [[str(i) for i in encoding.ids] for encoding in encodings]
    vectors = Word2Vec(
        sentences, vector_size=base_rows.shape[1], window=5, min_count=3, sg=1, workers=2, epochs=epochs, seed=seed
    ).wv
    learned = vectors.vectors
    scaled = (learned - learned.mean(0)) / (learned.std(0) + 1e-6) * deviation + mean
    for key, index in vectors.key_to_index.items():
        rows[int(key)] = scaled[index]
    known = base.get_vocab()
    for row, piece in enumerate(vocabulary.pieces):
        if piece in known and not "\u3400" <= piece.removeprefix("##")[:1] <= "\u9fff":
            rows[row] = base_rows[known[piece]]
    filled: NDArray[np.float32] = rows
    return filled
