"""Word lists of the shop sample: names, cities, streets, goods. Data only.

A change of any list changes the sample's golden digest.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class City(NamedTuple):
    """A city; the coordinates are in ten-thousandths of a degree."""

    name: str
    country: str
    zip_format: str
    lat: int
    lon: int


FIRST_NAMES: Final = (
    "Aaliyah", "Adam", "Aiko", "Alejandra", "Amara", "Amélie", "Ana", "Anders", "Anna", "Antonio",
    "Arjun", "Astrid", "Aylin", "Beatriz", "Ben", "Björn", "Camille", "Carlos", "Chen", "Chiara",
    "Chloé", "Daniel", "David", "Elena", "Elif", "Elsa", "Emil", "Emma", "Erik", "Fatima", "Felix",
    "Femi", "Finn", "Frida", "Gabriel", "Giulia", "Grace", "Hana", "Hannah", "Hiroshi", "Hugo",
    "Ines", "Ingrid", "Isabel", "Ivan", "Jakub", "Jan", "Jasper", "João", "Jonas", "José", "Julia",
    "Kaia", "Karim", "Katarzyna", "Kenji", "Khadija", "Lars", "Laura", "Lea", "Leon", "Liam",
    "Lina", "Louis", "Lucía", "Luka", "Lukas", "Maja", "Malik", "Mara", "Marco", "Maria", "Marta",
    "Mateo", "Maya", "Mei", "Mia", "Miguel", "Milan", "Mohammed", "Nadia", "Naomi", "Nils", "Nina",
    "Noah", "Nour", "Olga", "Oliver", "Olivia", "Omar", "Oskar", "Paula", "Pedro", "Petra", "Priya",
    "Rafael", "Rania", "Ravi", "Rosa", "Samuel", "Sara", "Sofia", "Søren", "Tariq", "Thea",
    "Thomas", "Tomás", "Valentina", "Vera", "Viktor", "Wanjiru", "Wei", "Yara", "Yusuf", "Zoë",
    "Zuzana",
)  # fmt: skip

LAST_NAMES: Final = (
    "Abe", "Adeyemi", "Ahmed", "Almeida", "Andersson", "Bauer", "Becker", "Bernard", "Bianchi",
    "Bonnet", "Brown", "Castillo", "Chen", "Costa", "Cruz", "Dahl", "Davies", "Dubois", "Díaz",
    "Eriksen", "Esposito", "Evans", "Fernández", "Ferrari", "Fischer", "Fontaine", "Fournier",
    "García", "Girard", "Gómez", "González", "Green", "Gupta", "Hansen", "Harris", "Hoffmann",
    "Hughes", "Ito", "Ivanov", "Jansen", "Jensen", "Johansson", "Jones", "Kaya", "Keller", "Kim",
    "Klein", "Kobayashi", "Kowalski", "Krause", "König", "Kumar", "Lambert", "Larsen", "Laurent",
    "Lee", "Lefèvre", "Lehmann", "Li", "López", "MacDonald", "Marino", "Martin", "Martínez",
    "Mendes", "Meyer", "Moreau", "Morel", "Moreno", "Moretti", "Müller", "Nakamura", "Navarro",
    "Nguyen", "Nielsen", "Novák", "Nowak", "O'Brien", "Okafor", "Olsen", "Oliveira", "Patel",
    "Pereira", "Petersen", "Petrov", "Popescu", "Ramírez", "Ricci", "Richter", "Rodríguez",
    "Romano", "Rossi", "Roux", "Ruiz", "Russo", "Santos", "Sato", "Schmidt", "Schneider", "Schulz",
    "Schwarz", "Silva", "Singh", "Smith", "Sousa", "Suzuki", "Svensson", "Tanaka", "Taylor",
    "Thomas", "Torres", "van den Berg", "Vargas", "Vega", "Visser", "Wagner", "Walker", "Wang",
    "Weber", "White", "Williams", "Wilson", "Wiśniewski", "Wolf", "Wright", "Yamamoto", "Yılmaz",
    "Zhang", "Zimmermann",
)  # fmt: skip

CITIES: Final = (
    City("Berlin", "DE", "1{0:04d}", 525200, 134050),
    City("London", "GB", "E{1:d} {2:d}AB", 515074, -1278),
    City("Paris", "FR", "750{3:02d}", 488566, 23522),
    City("Madrid", "ES", "280{3:02d}", 404168, -37038),
    City("Hamburg", "DE", "2{0:04d}", 535511, 99937),
    City("Milano", "IT", "201{3:02d}", 454642, 91900),
    City("Amsterdam", "NL", "10{3:02d} AB", 523676, 49041),
    City("Wien", "AT", "1{4:02d}0", 482082, 163738),
    City("München", "DE", "8{0:04d}", 481351, 115820),
    City("Roma", "IT", "001{3:02d}", 419028, 124964),
    City("Barcelona", "ES", "080{3:02d}", 413874, 21686),
    City("Lyon", "FR", "6900{2:d}", 457640, 48357),
    City("Zürich", "CH", "80{3:02d}", 473769, 85417),
    City("København", "DK", "1{5:03d}", 556761, 125683),
    City("Stockholm", "SE", "11{5:03d}", 593293, 180686),
    City("Warszawa", "PL", "0{2:d}-{5:03d}", 522297, 210122),
    City("Praha", "CZ", "1{4:02d} 00", 500755, 144378),
    City("Lisboa", "PT", "1{5:03d}-{6:03d}", 387223, -91393),
    City("Köln", "DE", "50{5:03d}", 509375, 69603),
    City("Manchester", "GB", "M{1:d} {2:d}QD", 534808, -22426),
    City("Bruxelles", "BE", "10{3:02d}", 508503, 43517),
    City("Oslo", "NO", "0{5:03d}", 599139, 107522),
    City("Helsinki", "FI", "00{5:03d}", 601699, 249384),
    City("Dublin", "IE", "D{4:02d} X{5:03d}", 533498, -62603),
    City("New York", "US", "10{5:03d}", 407128, -740060),
    City("Chicago", "US", "60{5:03d}", 418781, -876298),
    City("San Francisco", "US", "94{5:03d}", 377749, -1224194),
    City("Toronto", "CA", "M{1:d}B {2:d}K3", 436532, -793832),
    City("São Paulo", "BR", "0{0:04d}-{5:03d}", -235505, -466333),
    City("Ciudad de México", "MX", "0{0:04d}", 194326, -991332),
    City("Buenos Aires", "AR", "C1{5:03d}", -346037, -583816),
    City("Tōkyō", "JP", "1{4:02d}-{0:04d}", 356762, 1396503),
    City("Ōsaka", "JP", "5{4:02d}-{0:04d}", 346937, 1355023),
    City("Singapore", "SG", "0{7:05d}", 13521, 1038198),
    City("Sydney", "AU", "20{3:02d}", -338688, 1512093),
    City("Istanbul", "TR", "34{5:03d}", 410082, 289784),
    City("Athína", "GR", "1{4:02d} {3:02d}", 379838, 237275),
    City("Cape Town", "ZA", "8{5:03d}", -339249, 184241),
    City("Nairobi", "KE", "00{5:03d}", -12921, 368219),
    City("Reykjavík", "IS", "1{4:02d}", 641466, -219426),
)

STREETS: Final = (
    "Hauptstraße", "Bahnhofstraße", "Gartenweg", "Lindenallee", "High Street", "Church Lane",
    "Station Road", "Victoria Road", "Rue de la Paix", "Avenue Foch", "Rue du Moulin",
    "Boulevard Voltaire", "Calle Mayor", "Avenida del Sol", "Calle de la Luna", "Via Roma",
    "Via Garibaldi", "Corso Italia", "Kerkstraat", "Dorpsstraat", "Storgata", "Kungsgatan",
    "Vesterbrogade", "ulica Długa", "ulica Polna", "Rua da Prata", "Avenida da Liberdade",
    "Main Street", "Oak Avenue", "Maple Drive", "2nd Street", "Park Place", "Sunset Boulevard",
    "Mill Lane", "King's Road", "Queen Street", "Market Square", "Harbour View", "Hill Road",
    "Lake Street",
)  # fmt: skip

# Category, its goods, and its price range in cents.
CATEGORIES: Final = (
    ("books", ("Novel", "Cookbook", "Atlas", "Dictionary", "Comic", "Biography"), 690, 5900),
    ("kitchen", ("Kettle", "Pan", "Knife", "Teapot", "Grinder", "Scale"), 1290, 18900),
    ("garden", ("Shovel", "Hose", "Lantern", "Planter", "Rake", "Bench"), 890, 24900),
    ("toys", ("Puzzle", "Train Set", "Kite", "Board Game", "Doll", "Blocks"), 590, 9900),
    ("sports", ("Yoga Mat", "Tent", "Racket", "Helmet", "Dumbbell", "Backpack"), 1490, 32900),
    ("audio", ("Headphones", "Speaker", "Turntable", "Microphone", "Amplifier"), 2990, 89900),
    ("office", ("Lamp", "Chair", "Notebook", "Pen Set", "Desk", "Organiser"), 290, 49900),
    ("fashion", ("Scarf", "Jacket", "Sneakers", "Belt", "Hat", "Raincoat"), 1190, 27900),
    ("food", ("Coffee", "Tea", "Olive Oil", "Chocolate", "Honey", "Pasta"), 249, 3900),
    ("bikes", ("Bell", "Pannier", "Lock", "Saddle", "Pump", "City Bike"), 490, 189900),
)

ADJECTIVES: Final = (
    "Classic", "Compact", "Nordic", "Vintage", "Travel", "Family", "Royal", "Little", "Pocket",
    "Urban", "Alpine", "Solar", "Silent", "Golden", "Everyday", "Pro", "Eco", "Crème", "Blue",
    "Handmade", "Folding", "Smart", "Deluxe", "Simple", "Bold",
)  # fmt: skip

COLOURS: Final = ("black", "white", "red", "blue", "green", "oak", "silver", "sand")
TAGS: Final = (
    "gift", "express", "newsletter", "coupon", "b2b", "first-order", "fragile", "app", "phone",
    "preorder", "bulky", "return-customer",
)  # fmt: skip
SEGMENTS: Final = ("consumer", "consumer", "consumer", "business", "education", "public")
STATUSES: Final = (
    "delivered", "delivered", "delivered", "delivered", "delivered", "shipped", "shipped", "paid",
    "new", "cancelled", "returned",
)  # fmt: skip
EVENT_KINDS: Final = ("view", "view", "view", "view", "search", "search", "cart", "login", "rate")
DEVICES: Final = ("phone", "phone", "phone", "desktop", "desktop", "tablet", "kiosk")
BROWSERS: Final = ("Firefox", "Chrome", "Safari", "Edge")

# Searches in many scripts; some need more than one code point per character.
SEARCHES: Final = (
    "kaffeemühle", "headphones", "zelt für 2", "café crème", "ヘッドホン", "自転車 ライト",
    "шлем велосипедный", "ποδήλατο", "كتاب طبخ", "ספר בישול", "चाय", "커피", "bouilloire",
    "naïve art book", "tea 🍵", "kite 🪁 kids", "👩‍👩‍👧 game", "Iñtërnâtiônàlizætiøn",
    "100 % cotton", 'say "hello"', "back\\slash", "O'Neill", "e\u0301clair", "ﬁne pen", "straße",
)  # fmt: skip
