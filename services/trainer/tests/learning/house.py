"""A model so small that it learns in a second, and jobs for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from headrace_trainer.learning.telling import Done, Event, Progress
from headrace_trainer.learning.worker import work
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: A word that no line, file or error may show.
SECRET = "zanzibarine"


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    plain = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *alphabet])}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    made.chat_template = TEMPLATE
    return made


def write_base(folder: Path) -> Path:
    """A Llama of 50,000 weights, with that tokenizer."""
    torch.manual_seed(0)
    made = tokenizer()
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=made.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def row(number: int, split: str) -> dict[str, Any]:
    """A row whose answer stands in its passage."""
    passage = f"[1] Gate {number} of {SECRET} opens at {number} o'clock. " * (1 + number % 3)
    turns = [
        {"role": "system", "text": "Answer from the passages, and cite them.", "fixed": True},
        {"role": "user", "text": f"{passage}\n\nQuestion: When does gate {number} open?", "fixed": False},
    ]
    answer = f"It opens at {number} o'clock [1]."
    return {"row_id": f"r{number}", "split": split, "kind": "when", "turns": turns, "answer": answer}


ROWS = (*(row(n, "train") for n in range(12)), *(row(n, "test") for n in range(12, 16)))


def job(base: Path, made: Path, *, rows: Sequence[Mapping[str, Any]] = ROWS, **changed: Any) -> str:
    """A job as it is read, whose output, checkpoints and cache lie below `made`; a recipe replaces single numbers."""
    recipe = {"epochs": 3, "context": 1024, "tokens_a_step": 700, "rank": 4, "checkpoint_steps": 2}
    header = {
        "target": "generator",
        "base": str(base),
        "cache": str(made / "cache"),
        "output": str(made / "model"),
        "checkpoints": str(made / "checkpoints"),
        "recipe": recipe | changed.pop("recipe", {}),
        "seed": 5,
        "threads": 1,
        "rows": len(rows),
    }
    return "".join(f"{json.dumps(line)}\n" for line in (header | changed, *rows))


@dataclass
class Said:
    """What a worker in this process said, and its exit code."""

    code: int
    events: list[Event]

    @property
    def done(self) -> Done:
        """Its last word, which says that it made something."""
        last = self.events[-1]
        assert isinstance(last, Done), last
        return last

    @property
    def last(self) -> dict[str, Any]:
        """Its last word."""
        return asdict(self.events[-1])

    @property
    def steps(self) -> list[int]:
        """The steps that it did."""
        return [event.step for event in self.events if isinstance(event, Progress)]


def run(lines: str, *, stop_after: int = 0) -> Said:
    """Does a job in this process; told to stop when so many steps are done."""
    stop = threading.Event()
    events: list[Event] = []

    def say(event: Event) -> None:
        events.append(event)
        if stop_after and isinstance(event, Progress) and event.step == stop_after:
            stop.set()

    source = _Open(lines)
    return Said(work(source, accelerator=Accelerator(mixed_precision="no"), say=say, stop=stop), events)


class _Open(StringIO):
    """A stream that does not end: whoever started the worker is still there."""

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline(-1 if size is None else size)
        if not line:
            threading.Event().wait()
        return line
