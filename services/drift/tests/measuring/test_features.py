import numpy as np
import pytest
from headrace_drift.measuring import Hashing, Reader, layout

KEY, OTHER = b"k" * 32, b"o" * 32
READER = Reader(Hashing(KEY))


def test_a_question_is_read_into_hashes_and_lengths() -> None:
    question = READER.read("How do I open a file?\nIt doesn't open.")
    assert question.sentences == (6, 3)
    assert question.words.size == 9
    assert question.words[3] == question.words[8] == READER.hashing.word("open")
    assert question.characters == 38
    assert question.grams.size == 8 + len("how do i open a file it doesn't open") - 2
    assert (question.grams[:8] < layout.PAIRS).all()
    assert (question.grams[8:] >= layout.PAIRS).all()
    assert question.grams.max() < layout.GRAMS


def test_case_and_numbers_make_no_new_words() -> None:
    a, b = READER.read("Error 4711 in VERSION 3.11"), READER.read("error 12 in version 2,5")
    assert a.words.tolist() == b.words.tolist()


@pytest.mark.parametrize("text", ["", " ", "?!", "\n\n", "🙂", "\ud800 \udfff", "a", "ab", "日本語の質問。次の文"])
def test_any_text_can_be_read(text: str) -> None:
    question = READER.read(text)
    assert question.characters == len(text)
    assert sum(question.sentences) == question.words.size


def test_a_question_as_long_as_a_document_is_read_up_to_a_bound() -> None:
    question = READER.read("word " * 100_000)
    assert question.words.size <= 4_000
    assert question.characters == 500_000


def test_another_key_gives_other_hashes() -> None:
    theirs = Reader(Hashing(OTHER)).read("how do I open a file")
    ours = READER.read("how do I open a file")
    assert not np.intersect1d(ours.words, theirs.words).size
    assert ours.grams.tolist() != theirs.grams.tolist()


def test_hashes_stay_what_they_were() -> None:
    """Sketches outlive processes and versions: a hash that moves makes every word a new one."""
    question = READER.read("open a file")
    assert question.words.tolist() == [0xE57A51D8B3FDFCB0, 0x364CD0FE8A1994CB, 0x7FE9A7AD59419570]
    assert question.grams.tolist()[:4] == [103, 408, 1583, 1862]


def test_words_come_with_their_hashes() -> None:
    assert READER.words("Open, open the file 12") == {
        READER.hashing.word(word): word for word in ("open", "the", "file", "0")
    }


def test_queries_hang_together_by_conversation_else_by_subject_else_not() -> None:
    hashing = READER.hashing
    by_conversation = hashing.conversation("q1", conversation_id="c", subject="s")
    assert by_conversation == hashing.conversation("q2", conversation_id="c", subject="t")
    assert hashing.conversation("q1", subject="s") == hashing.conversation("q2", subject="s") != by_conversation
    assert hashing.conversation("q1") != hashing.conversation("q2")
    # The same words for another thing are another thing.
    assert hashing.conversation("q1", subject="c") != by_conversation


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 65])
def test_a_key_of_another_length_is_refused_without_showing_it(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes") as caught:
        Hashing(key)
    assert not key or key.decode() not in str(caught.value)
