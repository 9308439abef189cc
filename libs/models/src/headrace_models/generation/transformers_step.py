"""A step for any causal language model that transformers runs, through the model's own forward.

Slower than the lean step, since each forward pays transformers' way in and out; exact for every architecture whose
layers all attend to the whole sequence.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from headrace_models.generation.errors import UnsupportedModel
from headrace_models.generation.stepper import Segment


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values for all slots, of which the step's own are written and read."""

    is_sliding = False

    def __init__(self, *, slots: int, context: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shape = (slots, context)
        self.all_keys = self.all_values = torch.empty(0)  # [slots, heads, context, head]
        self.rows: torch.Tensor = torch.empty(0, dtype=torch.long)  # the slots of this forward
        self.positions: torch.Tensor = torch.empty(0, dtype=torch.long)  # [rows, tokens]
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        slots, context = self._shape
        self.all_keys = key_states.new_zeros(slots, key_states.shape[1], context, key_states.shape[3])
        self.all_values = value_states.new_zeros(slots, value_states.shape[1], context, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new positions; all positions of the forward's slots, [rows, heads, length, head]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.all_keys[self.rows[:, None], :, self.positions] = key_states.transpose(1, 2)
        self.all_values[self.rows[:, None], :, self.positions] = value_states.transpose(1, 2)
        return self.all_keys[self.rows, :, : self.length], self.all_values[self.rows, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - the base class's signature
        return self.length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self._shape[1]


class TransformersStepper:
    """See `Stepper`."""

    def __init__(self, model: Any, *, slots: int, context: int) -> None:
        config = model.config.get_text_config()
        _refuse_what_does_not_attend_to_all(config, context)
        self.slots, self.context = slots, context
        self._model = model.eval()
        self._layers = [_SlotLayer(slots=slots, context=context) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=[*self._layers])

    @torch.inference_mode()
    def step(self, segments: Sequence[Segment]) -> torch.Tensor:
        """See `Stepper.step`. Segments of one length share a forward."""
        by_length = sorted(segments, key=_length)
        logits: dict[int, torch.Tensor] = {}
        for _, same in groupby(by_length, key=_length):
            group = list(same)
            logits |= zip((s.slot for s in group), self._forward(group), strict=True)
        return torch.cat([logits[s.slot][len(s.tokens) - s.wanted :] for s in segments])

    def _forward(self, group: Sequence[Segment]) -> torch.Tensor:
        """[segments, tokens, vocabulary]. Without a wanted token the vocabulary is spared for all but one."""
        positions = torch.tensor([list(range(s.start, s.end)) for s in group])
        length = max(s.end for s in group)
        for layer in self._layers:
            layer.rows, layer.positions, layer.length = torch.tensor([s.slot for s in group]), positions, length
        hidden = torch.arange(length) > positions[..., None]
        mask = torch.zeros(hidden.shape, dtype=self._model.dtype)
        mask = mask.masked_fill_(hidden, torch.finfo(self._model.dtype).min)[:, None]
        kept = max(1, *(s.wanted for s in group)) if len(group) > 1 else max(1, group[0].wanted)
        logits: torch.Tensor = self._model(
            input_ids=torch.tensor([list(s.tokens) for s in group]),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=kept,
        ).logits
        missing = positions.shape[1] - kept
        return torch.nn.functional.pad(logits, (0, 0, missing, 0)) if missing else logits

    @torch.inference_mode()
    def save(self, slot: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """See `Stepper.save`."""
        return [(x.all_keys[slot, :, :length].clone(), x.all_values[slot, :, :length].clone()) for x in self._layers]

    @torch.inference_mode()
    def restore(self, slot: int, saved: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """See `Stepper.restore`."""
        for layer, (keys, values) in zip(self._layers, saved, strict=True):
            layer.all_keys[slot, :, : keys.shape[1]] = keys
            layer.all_values[slot, :, : values.shape[1]] = values


def _length(segment: Segment) -> int:
    return len(segment.tokens)


def _refuse_what_does_not_attend_to_all(config: Any, context: int) -> None:
    """A window that is at least the context never hides anything, so it is as good as none."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds - {"full_attention", "sliding_attention"} or not hasattr(config, "num_hidden_layers"):
        raise UnsupportedModel(f"{config.model_type} keeps another state than keys and values")
    if window is not None and getattr(config, "use_sliding_window", True) and window < context:
        raise UnsupportedModel(f"{config.model_type} attends to {window} tokens at a time: lower the context to that")
