"""The tour's documents."""

from __future__ import annotations

from headrace_embedded.demo import corpus


def test_every_topic_becomes_a_document_with_a_heading() -> None:
    reference = corpus.reference()
    assert len(reference) > 70
    assert {topic.name for topic in reference} >= {"nonlocal", "raise", "with"}
    assert all(topic.title and topic.markdown.strip() for topic in reference)


def test_underlined_headings_become_markdowns() -> None:
    text = 'The "nonlocal" statement\n************************\n\nText.\n\nMore\n====\n'
    assert corpus.to_markdown(text) == "# The nonlocal statement\n\nText.\n\n## More\n"


def test_a_line_that_underlines_nothing_stays() -> None:
    assert corpus.to_markdown("a\n\n----\n") == "a\n\n----\n"
    assert corpus.to_markdown("a row of\n====\n") == "a row of\n====\n"
