"""The ``sentence-transformers`` library's folders: written without it, loaded by it."""

import json
from pathlib import Path
from typing import Any

from adapters.networks.text_networks import SentenceEncoder, save_pretrained
from harness.core.errors import InputError

MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
_MODULES = {"": "Transformer", "1_Pooling": "Pooling"}


def export(
    encoder: SentenceEncoder, folder: Path, *, name: str, root: str = "", length: int
) -> None:
    """Write ``encoder`` so that ``SentenceTransformer(folder)`` gives its representations.

    The weights are saved as safetensors. The head is left out.

    Args:
        encoder: trained, on the CPU.
        folder: the folder to write, created if missing.
        name: the encoder that it was made from, whose tokenizer is copied.
        root: a folder that ``name`` may be in.
        length: tokens that a sentence is cut to.

    Raises:
        InputError: if the library has no such pooling.
    """
    if encoder.pooling not in MODES:
        raise InputError(
            f"`pooling` must be one of {', '.join(map(repr, MODES))} for a sentence-transformers "
            f"folder: got {encoder.pooling!r}, for which that library has no module. Train with "
            "one of these, or save the weights with "
            "`adapters.networks.text_networks.save_pretrained`."
        )
    save_pretrained(encoder, folder, name=name, root=root, length=length)
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, (path, kind) in enumerate(_MODULES.items())
    ]
    config: Any = encoder.model.config
    pooling = {mode: pooling == encoder.pooling for pooling, mode in MODES.items()}
    for file, content in {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": config.hidden_size, **pooling},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps(content, indent=2) + "\n")
