"""What stands around names, and what is written with a capital and is none. General knowledge, several languages."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from importlib.resources import files


def folded(word: str) -> str:
    """Lower case without accents: Zoë and ZOE are the same name."""
    plain = unicodedata.normalize("NFKD", word.lower().translate(_STROKES))
    return "".join(c for c in plain if not unicodedata.combining(c))


_STROKES = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i", "ð": "d", "þ": "th"})


@dataclass(frozen=True, slots=True)
class GivenNames:
    """Given names in common use. `clear`: names and little else; `also_words`: words, months and products as well."""

    clear: frozenset[str]
    also_words: frozenset[str]

    def knows(self, word: str) -> bool:
        """Whether it is one of either."""
        return folded(word) in self.clear or folded(word) in self.also_words

    def is_clear(self, word: str) -> bool:
        """Whether it is a name and hardly anything else; of a double name each part."""
        return all(folded(part) in self.clear for part in (word, *word.split("-")[:1])) or (
            "-" in word and all(folded(part) in self.clear for part in word.split("-"))
        )


def load_given_names() -> GivenNames:
    """Reads the list that is shipped with the package."""
    text = files("headrace_classifier").joinpath("first_names.txt").read_text("utf-8")
    _, clear, words = (
        text.partition("[clear]")[2].partition("[also-words]")[0],
        *text.split("[clear]")[1].split("[also-words]"),
    )
    also = frozenset(map(folded, words.split()))
    return GivenNames(frozenset(map(folded, clear.split())) - also, also)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Before a name, whatever follows with a capital.
HONORIFICS = _words(
    "mr mrs ms miss mx dr prof professor sir madam madame lord lady dame rev reverend father sister brother judge"
    " officer"
    " sergeant captain herr frau fräulein hr fr dipl ing mme mlle m monsieur mademoiselle maître sr sra srta señor"
    " señora"
    " señorita don doña d dña sig sigra signor signora signorina dott dottssa dottore avv avvocato ing dhr mevr"
    " mevrouw meneer"
    " mw drs pan pani panna herr fru fröken dona senhor senhora seu"
)

#: What greets somebody: the next word with a capital is a name.
GREETINGS = _words(
    "hi hello hey dear hallo liebe lieber bonjour salut cher chère hola estimado estimada querido querida ciao"
    " gentile caro cara"
    " beste geachte hoi cześć drogi droga szanowny szanowna hej hejsan kära käre olá oi caro prezado prezada good"
)

#: With a capital, and no part of a name: where a sentence begins, what is greeted, who is no person.
NOT_NAMES = _words(
    "a an and any all also are as at am after again against about above across although always another anyone"
    " anything because"
    " be been before below between both but by can cannot could customer customers colleague colleagues client"
    " clients company"
    " contact call ask check click close come create current currently delete describe did do does done down due"
    " during each"
    " either else email enter error even every everyone everything exactly example explain fail failed false file"
    " find first fix"
    " for found from full general get give given go good got great greetings had has have he help her here hers him"
    " his how"
    " however i if in info information input instead into invalid is issue it its just keep kind know last later"
    " let like line"
    " list log look made make many maybe me member message might missing more morning most move much must my name"
    " need never new"
    " next no none nor not note nothing now null of off ok okay old on once one only open or order our out output"
    " over page part"
    " password people per phone please possible previous print question quick quite rather re read really received"
    " regards"
    " regarding remove reply report request response result return right run same save say says second see seems"
    " send sent set"
    " several shall she ship should show since sincerely so some someone something soon sorry still stop subject"
    " such support"
    " sure take team tell test than thank thanks that the their them then there these they thing this those though"
    " three through"
    " thus ticket till time to today together tomorrow too true try turn two type under unless until up update upon"
    " us use used"
    " user users using value version very via want warning was we well were what when where whether which while who"
    " whole whom"
    " whose why will with within without would write wrong yes yesterday yet you your yours best kindest warm"
    " warmest cheers"
    " respectfully yours faithfully truly cordially date sender recipient attn fw fwd cc bcc id nr no number mail"
    " gmail username"
    " account accounts address billing shipping delivery invoice payment refund status priority severity level"
    " debug trace fatal"
    " notice critical exception caused thread main worker job task queue topic service server host node cluster"
    " request session"
    " token key secret select insert update delete values where join left right inner outer group having limit"
    " offset table index"
    " view begin commit rollback into create alter drop primary foreign unique default null true false"
    " monday tuesday wednesday thursday friday saturday sunday january february march april may june july august"
    " september"
    " october november december mon tue wed thu fri sat sun jan feb mar apr jun jul aug sep sept oct nov dec"
    " english french german spanish italian dutch polish swedish portuguese european american british chinese"
    " japanese indian"
    " north south east west northern southern eastern western central upper lower great grand saint st mount lake river"
    " bay beach island islands valley hill hills park garden gardens airport station university college school"
    " hospital church"
    " museum library theatre stadium center centre building tower bridge castle palace square market street road"
    " avenue lane"
    " drive boulevard court place way city town county state country republic kingdom union province district region"
    " london paris berlin madrid rome roma milan milano munich münchen hamburg vienna wien zurich zürich geneva"
    " brussels"
    " amsterdam rotterdam warsaw warszawa kraków stockholm oslo copenhagen helsinki lisbon lisboa porto dublin"
    " edinburgh"
    " manchester liverpool birmingham leeds bristol glasgow cardiff belfast york new-york boston chicago seattle"
    " portland denver"
    " dallas houston austin atlanta miami phoenix philadelphia detroit orlando nashville francisco"
    " angeles diego jose"
    " san los las santa vegas toronto montreal vancouver ottawa sydney melbourne brisbane perth auckland wellington"
    " tokyo osaka"
    " kyoto seoul beijing shanghai shenzhen hong kong singapore bangkok jakarta manila delhi mumbai bangalore"
    " chennai kolkata"
    " hyderabad karachi dubai cairo istanbul ankara athens moscow kyiv prague praha budapest bucharest sofia"
    " belgrade zagreb"
    " lyon marseille toulouse bordeaux nice nantes lille strasbourg barcelona valencia sevilla bilbao napoli turin"
    " torino"
    " florence firenze venice venezia bologna genoa köln cologne frankfurt stuttgart düsseldorf leipzig dresden"
    " bremen hannover"
    " nürnberg dortmund essen utrecht eindhoven antwerp ghent brugge gothenburg malmö rio janeiro são paulo"
    " brasília buenos aires"
    " santiago lima bogotá mexico brazil argentina chile peru colombia spain france germany italy england scotland"
    " wales ireland"
    " britain poland sweden norway denmark finland netherlands belgium switzerland austria portugal greece turkey"
    " russia ukraine"
    " india china japan korea australia zealand canada america africa europe asia usa uk eu uae"
    " inc llc ltd plc gmbh ag co corp corporation company group holding holdings partners sons labs lab systems"
    " solutions software"
    " technologies technology services bank insurance consulting industries international global foundation"
    " institute agency bv nv"
    " sa sarl srl spa sl ab oy aps kg ohg ug ev association society committee department ministry office division"
    " google amazon microsoft apple facebook meta netflix oracle ibm intel amd nvidia adobe salesforce twitter"
    " github gitlab"
    " bitbucket docker kubernetes linux windows macos ubuntu debian fedora redhat centos android ios chrome firefox"
    " safari edge"
    " python java javascript typescript rust golang ruby php perl scala kotlin swift haskell erlang elixir clojure"
    " django flask"
    " spring boot rails laravel symfony react angular vue svelte node express postgres postgresql mysql mariadb"
    " sqlite mongodb"
    " redis kafka spark hadoop airflow elasticsearch kibana grafana prometheus jenkins terraform ansible vault"
    " consul nginx"
    " apache tomcat maven gradle jira confluence slack zoom teams outlook excel word powerpoint sharepoint visual"
    " studio code"
    " power platform cloud azure aws lambda aurora photoshop illustrator acrobat galaxy pixel iphone ipad macbook"
    " surface xbox"
    " playstation model pro max mini plus air ultra lite premium basic standard enterprise edition beta alpha"
    " release candidate"
    " machine learning deep data science neural network artificial intelligence natural language processing api"
    " rest json xml"
    " html css http https sql nosql graphql grpc yaml toml csv pdf url uri uuid utf ascii unicode gpu cpu ram ssd usb"
    " bitte danke guten tag morgen abend mit freundlichen grüßen viele beste liebe der die das ein eine und oder"
    " nicht ist ich sie"
    " wir er es kunde kundin kollege rechnung bestellung straße"
    " le la les un une des et ou ne pas est je vous nous il elle merci cordialement bien client cliente commande"
    " facture"
    " el los las una y o no es yo usted gracias saludos atentamente cliente pedido factura lo il gli uno che di"
    " grazie cordiali"
    " saluti ordine fattura de het een en of niet is ik u wij hij zij bedankt vriendelijke groet klant bestelling"
    " factuur"
    " i lub nie jest ja pan proszę dziękuję pozdrawiam klient zamówienie faktura och eller inte är jag vi han hon"
    " tack vänliga"
    " hälsningar kund beställning o os as um uma e ou não eu você obrigado obrigada atenciosamente pedido fatura"
    " alpha bravo charlie delta echo foxtrot golf hotel juliet kilo lima november papa quebec romeo sierra tango"
    " uniform victor"
    " whiskey zulu black white red green blue yellow orange purple silver gold golden pink brown gray grey dark light"
    " support desk front back end full stack open source free trial plan project product feature bug pull merge branch"
    " bearer basic digest authorization content type accept agent cookie origin referer host keep alive cache control"
    " world folks guys hi there team everybody friend friends guest types type manager context sequence string"
    " format class classes function method methods module"
    " object objects attribute attributes statement statements expression expressions syntax language reference"
    " documentation appendix chapter section table figure step"
    " christmas easter new-year thanksgiving ramadan hanukkah god lord internet web wifi bluetooth covid"
)

#: What products, firms, places and teams end in: behind one of these no name goes on.
HEADS = _words(
    "router gateway switch firewall proxy loadbalancer balancer server servers database store storage cache"
    " queue broker scheduler runner worker agent engine loader filter mapper encoder decoder parser compiler"
    " optimizer solver planner scanner printer renderer viewer editor reader writer player recorder tracker"
    " monitor manager controller adapter connector driver plugin widget toolkit toolbox kit suite studio desktop"
    " workbench console terminal shell dashboard panel portal hub cloud sync backup archive vault catalog"
    " registry repository index search query analytics insights metrics reports report charts chart graph canvas"
    " board display screen keyboard mouse camera lens speaker headphones earbuds phone tablet laptop notebook"
    " watch band charger battery cable modem drone robot vacuum cleaner washer dryer fridge oven kettle toaster"
    " blender mixer grill heater boiler lamp light bulb fan pump drill saw mattress pillow chair desk sofa table"
    " backpack jacket shoes boots helmet bike bicycle scooter van truck tractor motor tires themes theme"
    " template templates skills skill assistant copilot autopilot translator organizer calendar mail mailer"
    " messenger chatbot bot browser launcher installer updater framework library package module sdk runtime"
    " interpreter debugger profiler linter formatter tester cluster node pod container image pipeline workflow"
    " workflows rollouts deployment ingress mesh operator orchestrator serverless function lambda stream streams"
    " topic lake warehouse mart pool bucket volume disk drive array matrix vector tensor heap tree stack hash"
    " code coding distance transform algorithm machine network protocol interface layer bridge hook handler"
    " listener provider factory builder generator validator serializer payments payment billing retail insurance"
    " bank banking trading traders fiber energy oil gas power motors airlines airways hotels hotel resort foods"
    " food toys games game gaming sports fashion jewelry pharma pharmacy clinic hospital dental law legal realty"
    " estate logistics shipping freight express delivery media press magazine news radio television channel"
    " records pictures studios entertainment products product stores shop market markets supermarket mall outlet"
    " restaurant cafe bistro bar brewery bakery pizzeria springs falls rapids heights harbor harbour creek"
    " canyon desert forest woods mountain mountains river ocean sea coast cliffs vineyard convention conference"
    " summit workshop webinar seminar festival cup league trophy championship marathon tournament expo fair"
    " events team crew staff squad unit division sales marketing finance accounting hr operations procurement"
    " compliance security infrastructure engineering development research quality helpdesk reception office"
    " headquarters branch living interiors garden home homes house kitchen bathroom bedroom furniture appliances"
    " electronics hardware deluxe ultimate professional starter essential essentials advanced classic vintage"
    " limited original special complete compact portable wireless digital smart turbo hyper super mega nano"
    " micro quantum cyber virtual"
)

#: Of the words above those that are family names as well, where a given name stands before them.
ALSO_SURNAMES = _words(
    "black white green brown gray grey silver gold golden lake hill hills park garden church castle bridge"
    " march may august lima porto"
    " valencia sevilla santiago santa rio washington jackson houston dallas austin boston london york lyon"
    " paris nice roma milano napoli"
    " torino firenze venezia genova köln essen berlin frankfurt hamburg bremen england french english german"
    " west north south east lane"
    " street way court place square long romeo victor november kilo bravo power page price best good great day"
    " bay beach rivers rose"
    " colombia bilbao bologna florence turin venice lille nantes toulouse bordeaux marseille utrecht antwerp"
    " ghent manchester bristol"
    " leeds perth melbourne miami orlando denver chase case coffee major love law moon hall banks woods field"
    " wells fisher cook king"
)

#: Between the parts of a name, in small letters.
PARTICLES = (
    "van|von|der|den|de|del|della|dello|delle|di|da|dal|dos|das|do|du|la|le"
    "|ten|ter|te|af|av|bin|binti|ibn|al|el|y|e|zu|zur|zum|und|'t|in't|vom|st\\.|d'"
)

#: Brands, places and figures whose first two words could be a person's, folded; an underline joins the two.
THINGS = frozenset(
    entry.replace("_", " ")
    for entry in _words(
        "ralph_lauren hugo_boss calvin_klein tommy_hilfiger jack_wolfskin johnnie_walker jim_beam jack_daniel's"
        " jack_daniels betty_crocker mary_kay estee_lauder helena_rubinstein charles_schwab morgan_stanley"
        " edward_jones harley_davidson aston_martin alfa_romeo land_rover rolls_royce philip_morris eli_lilly"
        " carl_zeiss robert_bosch thermo_fisher hewlett_packard martha_stewart charlotte_tilbury bobbi_brown"
        " max_factor elizabeth_arden kate_spade michael_kors giorgio_armani emporio_armani christian_dior"
        " pierre_cardin paul_smith fred_perry jean_paul yves_saint louis_vuitton karl_lagerfeld vivienne_westwood"
        " marc_jacobs tory_burch steve_madden kenneth_cole perry_ellis tom_tailor jack_jones ben_jerry ben_jerry's"
        " samuel_adams captain_morgan jose_cuervo john_deere john_lewis marks_spencer wells_fargo ernst_young"
        " johns_hopkins max_planck marie_curie albert_einstein alan_turing ada_lovelace leonardo_da isaac_newton"
        " charles_darwin nikola_tesla galileo_galilei martin_luther george_washington abraham_lincoln monte_carlo"
        " monty_python monty_hall charlotte_amalie alice_springs victoria_falls victoria_metrics saint_louis"
        " st_louis san_francisco san_diego san_antonio san_jose san_juan san_marino san_mateo santa_barbara"
        " santa_clara santa_cruz santa_fe santa_monica santa_maria santa_rosa los_angeles las_vegas ann_arbor"
        " fort_wayne baton_rouge little_rock palo_alto corpus_christi des_moines el_paso jackson_hole carson_city"
        " jefferson_city elizabeth_city oklahoma_city kansas_city salt_lake virginia_beach myrtle_beach key_west"
        " cape_cod cape_town port_elizabeth port_louis kuala_lumpur addis_ababa tel_aviv abu_dhabi phnom_penh ho_chi"
        " hong_kong sri_lanka costa_rica el_salvador buenos_aires santo_domingo sao_paulo rio_de porto_alegre"
        " belo_horizonte bad_homburg baden_baden frankfurt_am garmisch_partenkirchen novi_sad banja_luka"
        " nizhny_novgorod saint_petersburg st_petersburg milton_keynes isle_of saudi_arabia burkina_faso"
        " sierra_leone papua_new puerto_rico nova_scotia british_columbia costa_brava costa_blanca la_paz"
        " la_rochelle le_havre le_mans mont_blanc monte_rosa san_sebastian palma_de las_palmas la_coruna"
        " reggio_emilia la_spezia lago_maggiore den_haag den_bosch zielona_gora jelenia_gora gorzow_wielkopolski"
        " bielsko_biala nowy_sacz nova_gorica karlovy_vary ceske_budejovice hradec_kralove banska_bystrica"
        " cluj_napoca targu_mures satu_mare stara_zagora veliko_tarnovo amazon_alexa google_gemini harry_potter"
        " sherlock_holmes james_bond mickey_mouse donald_duck homer_simpson star_wars lorem_ipsum hello_kitty"
        " marie_claire vanity_fair tommy_john uncle_ben aunt_jemima papa_john papa_john's trader_joe trader_joe's"
        " dr_pepper doc_martens mercedes_benz daimler_benz siemens_gamesa nina_ricci paco_rabanne jo_malone"
        " issey_miyake laura_ashley laura_biagiotti anna_sui vera_wang vera_bradley eddie_bauer lucky_luke"
        " lucky_strike peter_pan santa_claus levi_strauss tom_ford henry_ford franklin_templeton merrill_lynch"
        " lehman_brothers charles_river raymond_james edwards_lifesciences cole_haan oscar_mayer sara_lee"
        " little_debbie orville_redenbacher jimmy_dean jimmy_choo stella_artois stella_mccartney nobel_prize"
        " pulitzer_prize grace_hopper ruby_sinatra apache_cassandra apache_tomcat apache_felix apache_jena"
        " apache_lucene claude_code claude_sonnet claude_opus travis_ci circle_ci"
    )
)
