"""The embedder learns from pairs, and what it makes can be served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from headrace_models.embedding import read_folder
from headrace_models.embedding.encoder import load_encoder
from headrace_trainer.learning.embedder import Tokens, contrast, same, steps
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from services.trainer.tests.learning.house import job, run

WORDS = [f"{kind}{n}" for kind in ("ask", "tell") for n in range(24)]
MODULES = ("Transformer", "1_Pooling", "2_Normalize")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder of a small BERT that knows nothing."""
    folder = tmp_path_factory.mktemp("encoders") / "small"
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.save(str(folder / "tokenizer.json"))
    kinds = ("Transformer", "Pooling", "Normalize")
    listed = [
        {"type": f"sentence_transformers.models.{k}", "path": p} for k, p in zip(kinds, ("", *MODULES[1:]), strict=True)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def pairs() -> list[dict[str, str]]:
    """Question n is answered by passage n; some are held out in other words' order."""
    some = [("train", f"ask{n} ask{(n + 7) % 24}", f"tell{n} tell{n}") for n in range(24)]
    held = [("test", f"ask{(n + 7) % 24} ask{n}", f"tell{n}") for n in range(24)]
    return [
        {"row_id": f"{split}{i}", "split": split, "question": q, "passage": p}
        for i, (split, q, p) in enumerate([*some, *held])
    ]


RECIPE = {"method": "full", "epochs": 40, "learning_rate": 0.01, "tokens_a_step": 400, "checkpoint_steps": 20}


def test_questions_come_nearer_to_what_answers_them(encoder: Path, tmp_path: Path) -> None:
    done = run(job(encoder, tmp_path, rows=pairs(), target="embedder", recipe=RECIPE)).done
    assert done.measures["base_first"] < 0.3
    assert done.measures["first"] > 0.7
    found = read_folder(tmp_path / "model")
    assert found.identity.hash != read_folder(encoder).identity.hash
    served = load_encoder(found, threads=1)
    vectors = torch.from_numpy(served.run(served.tokenize(["ask3 ask10", "tell3", "tell4"])))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_run_that_was_stopped_ends_in_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    recipe = RECIPE | {"epochs": 4, "tokens_a_step": 100}
    whole = run(job(encoder, tmp_path / "a", rows=pairs(), target="embedder", recipe=recipe)).done
    stopped = run(job(encoder, tmp_path / "b", rows=pairs(), target="embedder", recipe=recipe), stop_after=2)
    assert stopped.last == {"step": 2}
    resumed = run(job(encoder, tmp_path / "b", rows=pairs(), target="embedder", recipe=recipe))
    assert resumed.steps[0] == 3
    assert resumed.done.version == whole.version


def test_a_passage_that_occurs_twice_is_nobodys_wrong_answer() -> None:
    twice = [Tokens((1,), (9, 9)), Tokens((2,), (9, 9)), Tokens((3,), (8,))]
    assert same(twice).tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), dim=-1)
    assert contrast(vectors, vectors, same(twice)) < contrast(vectors, vectors, torch.eye(3, dtype=torch.bool))


def test_no_step_has_a_single_pair() -> None:
    some = [Tokens((i,), tuple(range(50))) for i in range(7)]
    plan = steps(some, epochs=1, tokens_a_step=10, seed=0)
    assert all(len(step) > 1 for step in plan)


def test_one_pair_is_nothing_to_tell_apart(encoder: Path, tmp_path: Path) -> None:
    said = run(job(encoder, tmp_path, rows=pairs()[:1], target="embedder"))
    assert (said.code, said.last["reason"]) == (2, "empty_dataset")
