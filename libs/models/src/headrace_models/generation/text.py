"""Between text and tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from headrace_models.prompting import Turn

# Stands for a turn's text while the template is rendered. Private-use characters: no template cares about them.
_MARK = "\ue000{}\ue001"
_PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt's token ids; the first `shared` of them hold nothing of the user's."""

    ids: tuple[int, ...] = field(repr=False)
    shared: int


Detokenize = Callable[[int], str | None]


class ChatText:
    """A model's tokenizer and chat template.

    Text within a turn is never read as the template's control tokens: a passage that says "<|im_end|>" ends nothing.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._template = tokenizer
        self._tokenizer: Tokenizer = tokenizer.backend_tokenizer
        self._plain = Tokenizer.from_str(self._tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._chat_template = tokenizer.chat_template or _PLAIN_TEMPLATE

    def encode(self, turns: Sequence[Turn]) -> Encoded:
        """The conversation as the model was trained to see it, up to where its next turn begins."""
        ids: list[int] = []
        shared: int | None = None
        for i, literal in enumerate(self._literals(turns)):
            ids += self._tokenizer.encode(literal, add_special_tokens=False).ids
            if i == len(turns):
                break
            if not turns[i].fixed and shared is None:
                shared = len(ids)
            ids += self._plain.encode(turns[i].text, add_special_tokens=False).ids
        return Encoded(ids=tuple(ids), shared=len(ids) if shared is None else shared)

    def _literals(self, turns: Sequence[Turn]) -> list[str]:
        """What the template puts before, between and after the turns' texts: one more than there are turns."""
        messages = [{"role": t.role, "content": _MARK.format(i)} for i, t in enumerate(turns)]
        rest: str = self._template.apply_chat_template(
            messages, chat_template=self._chat_template, tokenize=False, add_generation_prompt=True
        )
        literals = []
        for i in range(len(turns)):
            literal, mark, rest = rest.partition(_MARK.format(i))
            if not mark:
                raise ValueError(f"the chat template drops a turn by the {turns[i].role}")
            literals.append(literal)
        return [*literals, rest]

    def count(self, text: str) -> int:
        """How many tokens a text takes within a turn."""
        return len(self.tokens(text))

    def tokens(self, text: str) -> tuple[int, ...]:
        """A text's token ids within a turn."""
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, control tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def detokenizer(self) -> Detokenize:
        """A function of one completion's next token to the text that it adds, None while a character is incomplete."""
        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: stream.step(self._tokenizer, token)


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end a turn, as the generation settings and the tokenizer say."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    ids = stated if isinstance(stated, list) else [stated]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)
