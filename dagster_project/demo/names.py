"""Invented names of companies and people, and the e-mail addresses made of them.

Company domains end in `.example`, which nobody can own (RFC 2606). Free-mail addresses have invented local
parts.
"""

import numpy as np

FREE_MAIL = ("gmail.com", "outlook.com", "yahoo.com", "icloud.com", "gmx.de", "proton.me")

COMPANY_HEADS = (
    "Amber",
    "Arbor",
    "Basalt",
    "Birch",
    "Bright",
    "Calder",
    "Cinder",
    "Clover",
    "Cobalt",
    "Copper",
    "Coral",
    "Crest",
    "Drift",
    "Dune",
    "Ember",
    "Fable",
    "Falcon",
    "Fathom",
    "Fern",
    "Flint",
    "Garnet",
    "Glade",
    "Grove",
    "Harbor",
    "Hazel",
    "Heron",
    "Indigo",
    "Juniper",
    "Kestrel",
    "Lantern",
    "Larch",
    "Linden",
    "Lumen",
    "Maple",
    "Marble",
    "Meadow",
    "Nimbus",
    "Oak",
    "Onyx",
    "Opal",
    "Orchard",
    "Otter",
    "Pebble",
    "Pine",
    "Quartz",
    "Raven",
    "River",
    "Rowan",
    "Saffron",
    "Sage",
    "Slate",
    "Sorrel",
    "Sparrow",
    "Summit",
    "Teal",
    "Thistle",
    "Timber",
    "Velvet",
    "Willow",
    "Zephyr",
)
COMPANY_TAILS = (
    "anvil",
    "arc",
    "beacon",
    "bench",
    "bridge",
    "brook",
    "cask",
    "chart",
    "circuit",
    "compass",
    "craft",
    "crown",
    "dale",
    "deck",
    "field",
    "forge",
    "frame",
    "gate",
    "grain",
    "grid",
    "haven",
    "hearth",
    "hollow",
    "keel",
    "kiln",
    "lane",
    "ledger",
    "line",
    "loft",
    "loom",
    "mark",
    "mast",
    "mill",
    "mint",
    "nest",
    "path",
    "peak",
    "pier",
    "plain",
    "point",
    "port",
    "quill",
    "ridge",
    "root",
    "shore",
    "span",
    "spire",
    "spring",
    "stack",
    "stone",
    "thread",
    "tide",
    "tower",
    "trail",
    "vale",
    "vault",
    "ward",
    "well",
    "works",
    "yard",
)
COMPANY_FORMS = ("", "", " Labs", " Inc", " GmbH", " Group", " Systems", " Ltd")

FIRST_NAMES = (
    "Ada",
    "Aiko",
    "Alma",
    "Amara",
    "Anders",
    "Anika",
    "Arjun",
    "Bela",
    "Bruno",
    "Carmen",
    "Cleo",
    "Dario",
    "Diego",
    "Edith",
    "Elif",
    "Emil",
    "Esther",
    "Farah",
    "Felix",
    "Freya",
    "Gita",
    "Goran",
    "Hana",
    "Hugo",
    "Ines",
    "Ingrid",
    "Ismail",
    "Ivo",
    "Jana",
    "Jonas",
    "Kaito",
    "Kiran",
    "Lars",
    "Leila",
    "Linh",
    "Luca",
    "Mads",
    "Maren",
    "Marta",
    "Milan",
    "Mira",
    "Nadia",
    "Nils",
    "Noor",
    "Olga",
    "Omar",
    "Pavel",
    "Petra",
    "Priya",
    "Rafael",
    "Rosa",
    "Samir",
    "Selma",
    "Sofia",
    "Tariq",
    "Tessa",
    "Vera",
    "Viktor",
    "Yara",
    "Zoe",
)
LAST_NAMES = (
    "Abara",
    "Ahlberg",
    "Aydin",
    "Bakker",
    "Banik",
    "Becker",
    "Berglund",
    "Bianchi",
    "Castell",
    "Chandra",
    "Dahl",
    "Dupre",
    "Ekholm",
    "Farkas",
    "Ferro",
    "Fontane",
    "Garrido",
    "Grahn",
    "Haddad",
    "Hale",
    "Horvat",
    "Ibarra",
    "Iwata",
    "Jansen",
    "Kaplan",
    "Keller",
    "Kimura",
    "Kovac",
    "Larsen",
    "Lindqvist",
    "Lopes",
    "Madsen",
    "Mehra",
    "Moreau",
    "Nakano",
    "Novak",
    "Okafor",
    "Olsen",
    "Ortega",
    "Pavlov",
    "Petit",
    "Quist",
    "Rahman",
    "Rossi",
    "Sandoval",
    "Sato",
    "Schreiber",
    "Silva",
    "Sorensen",
    "Tanaka",
    "Tellier",
    "Thorne",
    "Ueda",
    "Varga",
    "Vogel",
    "Wallin",
    "Weiss",
    "Yilmaz",
    "Zeller",
    "Zielinski",
)
DEPARTMENTS = ("Engineering", "Product", "Operations", "Marketing", "Sales", "Finance", "Data")
ROLES = ("Manager", "Analyst", "Lead", "Director", "Specialist", "VP", "Engineer", "Coordinator")


def company_names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """`count` companies as (name, domain), all domains different."""
    pairs = len(COMPANY_HEADS) * len(COMPANY_TAILS)
    order = rng.permutation(pairs)
    forms = rng.integers(0, len(COMPANY_FORMS), count).tolist()
    named = []
    for number in range(count):
        head, tail = divmod(int(order[number % pairs]), len(COMPANY_TAILS))
        word = COMPANY_HEADS[head] + COMPANY_TAILS[tail]
        again = str(number // pairs + 1) if number >= pairs else ""
        name = f"{word}{COMPANY_FORMS[forms[number]]} {again}".rstrip()
        named.append((name, f"{word}{again}.example".lower()))
    return named


def person_names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """`count` people as (first name, last name); names repeat, as they do."""
    first = rng.integers(0, len(FIRST_NAMES), count).tolist()
    last = rng.integers(0, len(LAST_NAMES), count).tolist()
    return [(FIRST_NAMES[f], LAST_NAMES[s]) for f, s in zip(first, last, strict=True)]


class Addresses:
    """Hands out e-mail addresses, each once."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def give(self, name: tuple[str, str], domain: str) -> str:
        """An address at `domain`, lower case; a namesake gets a number."""
        local = f"{name[0]}.{name[1]}".lower()
        address = f"{local}@{domain}"
        seen = self._taken.get(address, 0)
        self._taken[address] = seen + 1
        return address if not seen else f"{local}{seen + 1}@{domain}"
