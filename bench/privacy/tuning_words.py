"""Words that the tuning generator puts into its templates: products, companies, towns, streets. Our own choice."""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


FIRST = [
    "Brandon",
    "Courtney",
    "Dustin",
    "Tiffany",
    "Kaitlyn",
    "Tyrone",
    "Latoya",
    "Cody",
    "Brittany",
    "Darnell",
    "Jürgen",
    "Heike",
    "Uwe",
    "Gudrun",
    "Detlef",
    "Sieglinde",
    "Torsten",
    "Anke",
    "Holger",
    "Renate",
    "Xochitl",
    "Quinlan",
    "Thibodeaux",
    "Zebulon",
]
LAST = [
    "Kowalczyk-Reed",
    "Hendrickson",
    "Abernathy",
    "McAllister",
    "Washington",
    "Castellanos",
    "Fitzsimmons",
    "Vanderpool",
    "Schönhauser",
    "Kirchgessner",
    "Obermeier",
    "Wiesenhütter",
    "Brandstätter",
    "Löwenthal",
    "Quastenberg",
    "Ziegenfuß",
    "Huckleby",
    "Stallworth",
]
PRODUCTS = _lines("""
Crystal Reports
Silver Creek Router
Turbo Widget Deluxe
Norton Commander
Quick Silver Gateway
Jupyter Notebook
Ada Router
Oscar Dashboard
Felix Cloud Sync
Casper Mattress
Edison Mail
Watson Assistant
Einstein Analytics
Tesla Autopilot
Newton Scheduler
Victoria Metrics
Marvin Suite
Clara Imaging
Bertha Boiler
Jenkins Pipeline
Travis Runner
Otto Printer
Maxwell Renderer
Darwin Core
Galileo Desktop
Leonardo Canvas
Monica Planner
Sophia Search
Hugo Themes
Luna Display
Stella Architect
Rosetta Translator
Harvey Balls
Alexa Skills
Cortana Search
Dexter Scanner
Kepler Mapper
Laplace Solver
Wolfram Engine
Hudson Build
Lucas Oil
Martha Stewart Living
Ralph Lauren
Hugo Boss
Calvin Klein
Tommy Hilfiger
Jack Wolfskin
Johnnie Walker
Jim Beam
Betty Crocker
Mary Kay
Estée Lauder
Helena Rubinstein
Charles Schwab
Morgan Stanley
Ernst & Young
Goldman Sachs
Edward Jones
Johnson & Johnson
Procter & Gamble
Harley Davidson
Aston Martin
Alfa Romeo
Land Rover
Rolls Royce
Warner Bros
Dolce Gabbana
Marks & Spencer
Philip Morris
Eli Lilly
Mercedes Sprinter
Carl Zeiss
Robert Bosch Hausgeräte
Leitz Ordner
Thermo Fisher
Hewlett Packard
Dell Latitude
Lenovo Yoga
Asus Zenbook
Canon Pixma
Epson Ecotank
Brother Laserjet
Philips Hue
Bosch Serie
Miele Complete
Dyson Airblade
Garmin Fenix
Fitbit Versa
Sony Bravia
Samsung Galaxy
Google Pixel
Amazon Aurora
Azure Arc
Visual Basic
Microsoft Exchange
Apache Cassandra
Apache Ignite
Apache Arrow
Elastic Beats
Grafana Loki
Grafana Tempo
Mimir Ruler
Argo Rollouts
Argo Workflows
Istio Ingress
Calico Typha
Cilium Hubble
Ceph Quincy
Debian Bookworm
Ubuntu Jammy
Fedora Silverblue
Android Studio
Xcode Cloud
Swift Charts
Ruby Sinatra
Phoenix Liveview
Crystal Lang
Julia Pluto
Haskell Stack
Monte Carlo
Kalman Filter
Bloom Filter
Merkle Tree
Fourier Transform
Gaussian Blur
Bayesian Optimizer
Dijkstra Planner
Turing Machine
Fibonacci Heap
Hamming Code
Huffman Encoder
Levenshtein Distance
Blue Heron Kettle
Falcon Heavy
Delta Lake
Iceberg Catalog
Snowflake Cortex
Kestrel Web
Raven Database
Puma Server
Unicorn Worker
Tiger Beetle
Panda Security
Orion Platform
Pegasus Mail
Apollo Federation
Hermes Agent
Athena Query
Zeus Loadbalancer
Titan Security
Vulkan Loader
Helios Lamp
Nimbus Broom
Zephyr Project
Aurora Serverless
Borealis Heater
Cascade Washer
Summit Backpack
Canyon Grail
Trek Madone
Cannondale Topstone
Acme Billing
Globex Payments
Initech Reports
Umbrella Insurance
Wayne Enterprises
Stark Industries
Contoso Retail
Fabrikam Fiber
Northwind Traders
Tailspin Toys
""")
CITIES = _lines("""
Baton Rouge
Bad Homburg
Salt Lake City
Villingen Schwenningen
Santa Fe
Ann Arbor
Fort Wayne
St. Louis
San Antonio
Carson City
Jefferson City
Colorado Springs
Corpus Christi
Grand Rapids
Cedar Rapids
Sioux Falls
Des Moines
Virginia Beach
Little Rock
Palo Alto
Mountain View
Santa Cruz
Santa Barbara
San Mateo
Daly City
Kuala Lumpur
Addis Ababa
Buenos Aires
Tel Aviv
Abu Dhabi
Ho Chi Minh City
Phnom Penh
New Delhi
Navi Mumbai
Port Elizabeth
Cape Town
Dar es Salaam
Port Moresby
Alice Springs
Charlotte Amalie
Saint George
Port Louis
Victoria Falls
Baden Baden
Bad Kreuznach
Garmisch Partenkirchen
Halle Neustadt
Castrop Rauxel
Clausthal Zellerfeld
Idar Oberstein
Sulzbach Rosenberg
Wanne Eickel
Gelsenkirchen
Wolfenbüttel
Reykjavik
Tallinn
Ljubljana
Székesfehérvár
Hódmezővásárhely
Nyíregyháza
Cluj Napoca
Târgu Mureș
Satu Mare
Novi Sad
Banja Luka
Slavonski Brod
Velika Gorica
Stara Zagora
Veliko Tarnovo
Nova Gorica
Hradec Králové
Karlovy Vary
České Budějovice
Banská Bystrica
Spišská Nová Ves
Lake Placid
Martha's Vineyard
Isle of Wight
Mount Rainier
Cape Cod
Death Valley
Yosemite Valley
Lake Balaton
Bodensee Region
Schwäbische Alb
""")
STREETS_US = (
    "Maple Street",
    "Old Mill Road",
    "Jefferson Avenue",
    "Sycamore Lane",
    "Birchwood Drive",
    "N Main St",
    "Cedar Creek Rd",
)
STREETS_DE = (
    "Lindenstraße",
    "Am Mühlbach",
    "Goetheallee",
    "Bahnhofsweg",
    "Kastaniengasse",
    "Am alten Markt",
    "Ringstr.",
)
TOWNS_US = ("Tucson, AZ 85701", "Boise, ID 83702", "Omaha, NE 68102", "Macon, GA 31201-4410")
TOWNS_DE = ("34117 Kassel", "52062 Aachen", "18055 Rostock", "D-99084 Erfurt")
COMPANIES = (
    "Acme", "Globex", "Initech", "Hooli", "Soylent", "Umbrella", "Vandelay", "Dunder", "Wernham", "Octan", "Cyberdyne",
    "Monsters", "Oceanic", "Massive", "Pied", "Aperture", "Weyland", "Tyrell", "Nakatomi", "Virtucon",
)  # fmt: skip
