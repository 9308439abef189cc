"""Code, and what comes out of running it: how to tell that a text holds some.

Whether code is a customer's, the text cannot say: that follows from where it comes from (see tiering). So these rules
only say that there is some. They look for its marks on lines, never for single words: "import" and "class" are English
too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: So many lines that look like code make pasted code; fewer may be an example in a sentence.
PASTED_LINES = 3


@dataclass(frozen=True, slots=True)
class CodeRule:
    """A mark of code. `pattern`: where it stands; `least`: how many places there must be."""

    name: str
    pattern: re.Pattern[str]
    least: int = 1


def _lines(pattern: str) -> re.Pattern[str]:
    """A pattern that begins at a line's first character that is no blank, quote mark or line of a diff."""
    return re.compile(rf"(?m)^[ \t>|]{{0,40}}(?:{pattern})")


_FENCE = re.compile(r"(?m)^[ \t>]{0,12}(?:```|~~~)[^\n`]{0,40}\n(?=[^\n]*\S)")

_IMPORT = _lines(
    r"from [\w.]{1,80} import [\w*(]|import [\w.]{1,80}(?: as \w{1,40})?[ \t]*;?[ \t]*$"
    r"|import (?:static )?[\w.]{3,120}(?:\.\*)?;"
    r"|import [^\n]{1,120} from ['\"][^\n]{1,120}['\"]|(?:const|let|var) [^\n=]{1,80}= ?require\(['\"]"
    r"|#[ \t]{0,4}include[ \t]{0,4}[<\"]"
    r"|using [\w.]{1,80};|package [\w.]{1,80};|use [\w:]{2,80}(?:::\{[^\n]{1,120}\})?;|require(?:_relative"
    r"|_once)?[ (]['\"]"
)

_STATEMENT = _lines(
    r"(?:async )?def \w{1,80}\(|class \w{1,80}[^\n]{0,80}[:{][ \t]*$|(?:public|private|protected|static|final"
    r"|abstract|internal)"
    r" [\w<>\[\], ]{1,80}[({=;]|(?:export )?(?:default )?(?:async )?function\b[^\n]{0,120}\{|(?:const|let|var|val"
    r"|auto) \w{1,60}[^\n]{0,120}="
    r"|(?:if|for|while|switch|catch) ?\([^\n]{0,160}\) ?\{?[ \t]*$|(?:if|for|while|with|elif|except|try"
    r"|else)\b[^\n]{0,120}:[ \t]*$"
    r"|return\b[^\n]{0,160}[;)\]]?[ \t]*$|\w[\w.\[\]'\"]{0,80} ?(?:=|\+=|-=|:=) ?[^\n=]{1,200}[;)\]}\"']?[ \t]*$"
    r"|[\w.]{2,120}\([^\n]{0,200}\);?[ \t]*$|(?:fn|func|impl|struct|enum|trait|interface|type|module"
    r"|namespace) [^\n]{1,120}[{(=][ \t]*$"
    r"|(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (?:TABLE|INDEX|VIEW)|ALTER TABLE)\b[^\n]{1,300}"
    r"|[{}\]][);,]{0,3}[ \t]*$|@\w{1,60}(?:\([^\n]{0,120}\))?[ \t]*$"
)

#: One of these must be among the lines: assignments and brackets alone are settings, JSON, or a list of values.
_CERTAIN = _lines(
    r"(?:async )?def \w{1,80}\([^\n]{0,160}:|class \w{1,80}(?:\([^\n]{0,80}\))?(?:[^\n]{0,60}\{|:)[ \t]*$|(?:public"
    r"|private|protected) [^\n]{1,120}[({;]"
    r"|(?:export )?(?:async )?function \w{0,60}\([^\n]{0,120}\{|(?:func|fn) [^\n]{1,160}\{[ \t]*$"
    r"|(?:if|for|while|switch) ?\([^\n]{1,160}\) ?\{[ \t]*$|return [^\n]{1,160};[ \t]*$|(?:const|let"
    r"|var) \w{1,60} ?= ?[^\n]{1,160};"
    r"|(?:SELECT\b[^\n]{1,200}\bFROM\b|INSERT INTO\b|CREATE TABLE\b|UPDATE \w{1,80} SET\b)"
)

CODE_RULES: tuple[CodeRule, ...] = (
    CodeRule("code-fence", _FENCE),
    CodeRule("shebang", re.compile(r"(?m)^#! ?/(?:usr/|bin/|opt/)[^\n]{2,80}$")),
    CodeRule("import-header", _IMPORT, 2),
    CodeRule(
        "patch",
        re.compile(
            r"(?m)^(?:diff --git a/|Index: \S+\n=====|@@ -\d{1,7}(?:,\d{1,7})? \+\d{1,7}(?:,\d{1,7})? @@"
            r"|--- \S[^\n]{0,200}\n\+\+\+ \S)"
        ),
    ),
    CodeRule(
        "stack-trace",
        re.compile(
            r"Traceback \(most recent call last\):|(?m:^\s{0,12}at (?:[\w$.<>]+\.)[\w$<>]+\([^\n()]{1,120}:\d{1,6}\))"
            r"|(?m:^\s{1,12}at [^\n]{1,160}\([^\n]{1,160}:\d{1,6}:\d{1,6}\))"
            r"|(?m:^\s{1,12}at [^\n]{1,200} in [^\n]{1,200}:line \d{1,6})"
            r"|(?m:^goroutine \d{1,9} \[[a-z ,0-9]{1,40}\]:)|thread '[^\n']{1,60}' panicked at "
            r"|(?m:^\s{0,4}File \"[^\n\"]{1,200}\", line \d{1,6}, in )"
        ),
    ),
    CodeRule(
        "licence-header",
        re.compile(
            r"(?i)(?:copyright (?:\(c\)|©|\d{4})[^\n]{1,160}\n?[^\n]{0,120}all rights reserved"
            r"|(?:proprietary and confidential|confidential and proprietary|unauthori[sz]ed (?:copying|use"
            r"|disclosure) of this (?:file|code|software))"
            r"|SPDX-License-Identifier:[ \t]*(?:LicenseRef-|proprietary|unlicensed))"
        ),
    ),
)


def code_places(text: str) -> Iterator[tuple[int, int, str]]:
    """Yields (start, end, rule) of each mark of code, in characters."""
    for rule in CODE_RULES:
        found = [match.span() for match in rule.pattern.finditer(text)]
        if len(found) >= rule.least:
            yield from ((start, end, rule.name) for start, end in found)
    yield from _pasted(text)


def _pasted(text: str) -> Iterator[tuple[int, int, str]]:
    """So many lines of statements, one of which nothing but code has."""
    if text.count("\n") < PASTED_LINES - 1 or _CERTAIN.search(text) is None:
        return
    lines = [match.span() for match in _STATEMENT.finditer(text)]
    if len(lines) >= PASTED_LINES:
        yield lines[0][0], lines[-1][1], "pasted-code"
