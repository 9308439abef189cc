"""Postal addresses by the words for streets, the shapes of postcodes, and labels. Several countries; no model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace_classifier.patterns import compile_pattern

RULE = "postal-address"

_CAPITAL = r"A-ZÀ-ÖØ-ÞĀ-ŽİŚŻŁĆŹ"
_WORD = rf"[{_CAPITAL}][^\W\d_]*(?:['’.-][^\W\d_]+)*\.?"
_LINK = (
    r"(?:de la|de los|de las|de|del|della|dei|degli|delle|di|da|do|dos|das|du|des|d'|l'|la|le|les|el"
    r"|van de|van der|van den|van|von|der|den|het|'t|y|e|i|und|of|the|im|am|an der|sur|sous|en|aux|à)"
)
_NAMED = rf"(?:(?:{_LINK}[ ]?){{0,2}}{_WORD}[ ]){{0,4}}(?:{_LINK}[ ]?){{0,2}}{_WORD}"
_NUMBER = r"\d{1,5}(?:[ ]?[A-Za-z]\b)?(?:[-/]\d{1,4}[A-Za-z]?)?"
_GAP = r"(?:,? |, ?|,? ?\n[ \t]{0,8}|,? ?\\n|; )"

_EN = (
    r"Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Crescent"
    r"|Cres|Close|Way|Gardens|Grove|Mews|Row|Hill|Parade"
    r"|Highway|Hwy|Parkway|Pkwy|Circle|Cir|Trail|Walk|Green|Rise|View|Alley|Plaza|Turnpike|Pike|Path|Loop|Crossing"
    r"|Commons?|Park|Estates?|Manor|Meadows?|Ridge|Heights|Villas?|Wharf|Quay|Bypass|Freeway|Expressway|Island"
    r"|Junction|Mill|Mountain|Orchard|Pass|Point|Run|Shore|Shores|Spring|Springs|Station|Stream|Summit|Throughway"
    r"|Track|Tunnel|Union|Valley|Viaduct|Village|Ville|Vista|Well|Wells|Fork|Forks|Forge|Fort|Garden|Gateway|Glen"
    r"|Glens|Greens|Groves|Harbor|Harbors|Haven|Hills|Hollow|Inlet|Key|Keys|Knoll|Knolls|Lake|Lakes|Land|Landing"
    r"|Light|Lights|Lock|Locks|Lodge|Mall|Mission|Motorway|Neck|Oval|Overpass|Passage|Pine|Pines|Plain|Plains|Port"
    r"|Ports|Prairie|Radial|Ramp|Ranch|Rapid|Rapids|Rest|River|Route|Shoal|Shoals|Skyway|Spur|Stravenue|Trace"
    r"|Trafficway|Underpass|Burg|Burgs|Branch|Brook|Brooks|Bluff|Bluffs|Bend|Beach|Bayou|Cape|Causeway|Center"
    r"|Centers|Cliff|Cliffs|Club|Corner|Corners|Course|Courts|Cove|Coves|Creek|Crest|Curve|Dale|Dam|Divide|Drives"
    r"|Estate|Extension|Extensions|Fall|Falls|Ferry|Field|Fields|Flat|Flats|Ford|Fords|Forest|Camp|Canyon"
)
#: Before the name of the street.
_BEFORE = (
    r"[Rr]ue|[Aa]venue|[Bb]oulevard|[Bb]d|[Aa]v\.|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Aa]llée|[Qq]uai|[Rr]oute|[Cc]ours"
    r"|[Ss]quare|[Ff]aubourg|[Pp]assage"
    r"|[Cc]alle|C/|[Aa]venida|[Aa]vda\.?|[Pp]laza|[Pp]aseo|[Cc]amino|[Cc]arretera|[Rr]onda|[Tt]ravesía|[Gg]lorieta"
    r"|[Uu]rbanización|[Cc]uesta|[Pp]asaje|[Rr]ambla|[Aa]lameda|[Vv]ial|[Aa]cceso|[Cc]allejón|[Cc]añada|[Pp]asadizo"
    r"|[Vv]ia|[Vv]iale|[Pp]iazza|[Pp]iazzale|[Cc]orso|[Vv]icolo|[Ll]argo|[Ss]trada|[Cc]ontrada|[Bb]orgo"
    r"|[Pp]iazzetta|[Rr]otonda|[Ss]alita|[Ll]ungomare|[Ii]ncrocio|[Cc]anale|[Ss]tretto"
    r"|[Uu]l\.|[Uu]lica|[Aa]l\.|[Aa]leja|[Pp]l\.|[Pp]lac|[Oo]s\.|[Oo]siedle"
    r"|[Rr]ua|R\.|[Tt]ravessa|[Pp]raça|[Rr]odovia|[Ee]strada|[Ll]adeira|[Ll]argo|[Vv]iela|[Qq]uadra|[Cc]ondomínio"
    r"|[Cc]onjunto|[Ss]ítio|[Ff]azenda|[Ll]oteamento|[Mm]orro|[Nn]úcleo|[Pp]arque|[Rr]ecanto|[Rr]esidencial"
    r"|[Vv]ereda|[Vv]ila|[Jj]ardim|[Ff]avela|[Dd]istrito|[Cc]olônia|[Cc]ampo|[Cc]hácara|[Ee]splanada|[Ee]stação"
    r"|[Ff]eira|[Ll]ago|[Ll]agoa|[Pp]átio|[Pp]assarela|[Tt]recho|[Tt]revo|[Vv]ale|[Vv]iaduto|[Aa]eroporto|[Áá]rea"
    r"|[Aa]m|[Aa]n der|[Aa]uf der|[Ii]m|[Zz]um|[Zz]ur"
)
#: At the end of the street's name, in one word or as the last of several.
_BEHIND = (
    r"stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|ring|damm|ufer|steig|chaussee|markt"
    r"|straat|laan|plein|gracht|kade|dreef|hof|steeg|singel|dijk|pad|baan|boulevard|park"
    r"|vägen|väg|gatan|gata|gränd|stigen|stig|torget|plan|backen|allén|leden|vej|vejen|gade|vei|veien|gate|katu|tie"
)
_UNIT = (
    r"(?:[Ff]lat|[Ss]tudio|[Aa]pt|[Aa]partment|[Uu]nit|[Ss]uite|[Rr]oom|[Ff]loor|[Pp]iso|[Pp]uerta|[Pp]ta|[Bb]loque"
    r"|[Ii]nterno|[Aa]ppartamento|[Aa]ppartement|[Bb]ât|m|[Ll]gh|[Aa]pto"
    r"|[Bb]loco|[Ww]ohnung|[Ss]tock|[Hh]ouse)\.? ?\d{1,4}[A-Za-z]?"
)

_UK = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2}"
_STATES = (
    r"A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)
_POSTCODE = (
    rf"(?:{_UK}|(?:{_STATES}) \d{{5}}(?:-\d{{4}})?|\d{{5}}-\d{{3}}|\d{{2}}-\d{{3}}"
    rf"|\d{{4}} ?[A-Z]{{2}}|\d{{3}} \d{{2}}|(?:[A-Z]{{1,2}}-)?\d{{4,5}})"
)
_CITY = rf"{_WORD}(?:[ -](?:{_LINK}[ ]?){{0,2}}{_WORD}){{0,3}}"

_STREETS = (
    rf"(?:{_UNIT},? )?\b{_NUMBER},? (?:{_WORD} ){{1,4}}(?:{_EN})\b\.?(?:,? {_UNIT})?",
    rf"(?:\b{_NUMBER},? )(?:{_BEFORE}) {_NAMED}",
    rf"(?<![\w.])(?:{_BEFORE}) {_NAMED},? (?:n[°ºr]\.? ?|nº ?|s/n|{_NUMBER}\b)(?:,? {_UNIT})?",
    rf"\b(?:{_WORD}[ -]){{0,2}}[{_CAPITAL}][^\W\d_]{{2,}}(?:{_BEHIND}) {_NUMBER}\b(?:,? {_UNIT})?",
    rf"\b(?:{_WORD}[ -]){{1,3}}(?:{_BEHIND.title()}|{_BEHIND}) {_NUMBER}\b(?:,? {_UNIT})?",
)
_STREET = re.compile("|".join(f"(?:{street})" for street in _STREETS))

#: The same, somewhat wider, for an engine that needs a hundredth of the time: RE2 knows letters by another name, and no
#: look-behind; its word boundaries are those of ASCII.
_STREET_AT_ALL = compile_pattern(
    "|".join(street.replace(r"(?<![\w.])", "").replace(r"\b", "").replace(r"[^\W\d_]", r"\pL") for street in _STREETS)
)

#: Postcodes that say enough alone, or with the town's name beside them.
_PLACE = re.compile(
    rf"\b{_UK}\b(?![\w-])|\b{_CITY}, (?:{_STATES}) \d{{5}}(?:-\d{{4}})?\b|\b\d{{4}} [A-Z]{{2}},? {_CITY}"
    rf"|(?<![\d-])\d{{2}}-\d{{3}},? {_CITY}"
    rf"|(?<![\d.-])\d{{5}}-\d{{3}}(?![\d-])(?:,? {_CITY})?"
)
_LABELLED = re.compile(
    r"(?i:\b(?:(?:[a-z]{1,16}[_ ])?(?:postal |home |street |billing |shipping |delivery "
    r"|mailing )?address(?:[_ ]?line)?(?:[_ ]?1)?|street|adresse|anschrift|dirección|direccion|domicilio|indirizzo"
    r"|adres|endereço|endereco|adress"
    r"|lives? at|living at|moved to|ship(?:ped)? to|deliver(?:ed)? to|resides at)[\"']?[ ]{0,2}(?:[:=]"
    r"|=>)?[ ]{0,2}[\"']?)"
    rf"((?:{_UNIT}{_GAP})?(?:{_NUMBER},? )?{_NAMED}(?:,? {_NUMBER})?(?:{_GAP}(?:{_POSTCODE}|{_CITY}"
    rf"|{_UNIT})(?: {_CITY})?){{0,4}})"
)

_TOWN = (
    rf"(?:{_POSTCODE},? {_CITY}(?:{_GAP}(?:{_POSTCODE}|{_STATES}|[A-Z]{{2}})\b)?|{_CITY},? {_POSTCODE}\b|{_POSTCODE}\b)"
)
_MORE = re.compile(
    rf"(?:{_GAP}(?:{_UNIT}|{_CITY}(?: / [A-Z]{{2}})?|{_NUMBER})){{0,3}}?(?:{_GAP}"
    rf"| - )(?:{_TOWN})(?:,? \([A-Z]{{2}}\)|, [A-Z]{{2}}\b| / [A-Z]{{2}}\b)?"
)
#: Lines before a postcode: each begins with a capital or a number, and is short.
_LESS = re.compile(
    rf"(?:(?<![^\n,;\"':(])|(?<=[:,;] ))(?:(?:{_UNIT}|{_NUMBER}(?: [^\W\d_]+){{1,4}}"
    rf"|{_WORD}(?: [^\W\d_]+){{0,3}}){_GAP}){{1,3}}\Z"
)
_LESS_LENGTH = 110

#: So much of a text is looked at for an address at least one of these must be near: cheap, before all else.
_GATE = re.compile(r"\d")


def address_places(text: str) -> Iterator[tuple[int, int]]:
    """Yields (start, end) in characters of each postal address; they may overlap."""
    if _GATE.search(text) is None:
        return
    if _STREET_AT_ALL.search(text.encode()) is not None:
        for match in _STREET.finditer(text):
            yield match.start(), _extended(text, match.end())
    for match in _PLACE.finditer(text):
        if _is_place(match, text):
            yield _begun(text, match.start()), match.end()
    for match in _LABELLED.finditer(text):
        value = match.group(1)
        if any(c.isdigit() for c in value) and re.search(r"[^\W\d_]{3}", value):
            yield match.span(1)


def _extended(text: str, end: int) -> int:
    """Goes on to the postcode and the town, where they follow."""
    more = _MORE.match(text, end, min(len(text), end + 120))
    return more.end() if more else end


def _begun(text: str, start: int) -> int:
    """Goes back over the short lines before a postcode that hold a number."""
    before = text[max(0, start - _LESS_LENGTH) : start]
    less = _LESS.search(before)
    if less is None:
        return start
    piece = next((m for m in _PIECE.finditer(less.group()) if any(c.isdigit() for c in m.group())), None)
    return start - len(before) + less.start() + piece.start() if piece else start


#: One line, or one part between commas.
_PIECE = re.compile(r"[^\s,;][^\n,;]*")


_CODE_LIKE = re.compile(
    r"(?i)(?:\b(?:id|sku|part|model|order|ref|reference|item|no|nr|code|serial|version|build|ticket|batch"
    r"|invoice)\b[^\w\n]{0,4}|[\w-])\Z"
)


def _is_place(match: re.Match[str], text: str) -> bool:
    """A part number can look like a postcode: the word before it tells."""
    return _CODE_LIKE.search(text[max(0, match.start() - 16) : match.start()]) is None
