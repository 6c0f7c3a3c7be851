"""Which icons the picture model learns, and the words people use for them.

Pure tables and functions: no files are read here. Icon names are the ones of
the `fluent-emoji-flat` set ("red-apple"); words are what a member would type.
"""

from __future__ import annotations

import hashlib
import re

EVALUATION_SIZE = 200
"""How many names `evaluate.py` draws; they are fixed by hash and never tuned on."""

STYLES: dict[str, tuple[str, ...]] = {
    "flat": ("flat", "flat style", "flat icon of"),
    "soft": ("soft", "soft style"),
    "cartoon": ("cartoon", "cartoon style"),
    "3d": ("3d", "3d rendered"),
}
"""Style (the icon set it names) to the words that ask for it; flat is the default."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.0, 1.0, 1.0),
    "orange": (28.0, 1.0, 1.0),
    "yellow": (50.0, 1.0, 1.1),
    "green": (125.0, 0.85, 0.85),
    "blue": (212.0, 1.0, 1.0),
    "purple": (275.0, 0.9, 0.9),
    "pink": (332.0, 0.65, 1.1),
}
"""Colour word to (hue in degrees, saturation factor, value factor) for recolouring."""

_DROP = re.compile(
    r"-(dark|light|medium)$|medium-(dark|light)|keycap|flag|japanese-(?!castle|dolls)|"
    r"oclock|thirty|(^|-)(man|woman|men|women|person|people|family|couple|kiss)-|"
    r"button|-symbol$|arrow$|^arrow|circled|-circle$|-square$|large-|small-|medium-|"
    r"-mark$|blood-type|-luggage$|-sign$|input-|index-pointing|hand-with|"
    r"facing|-hand$|hearing|-wards|globe-with|-diamond$|triangle|bookmark-tabs|"
    r"chart-increasing-with|no-(entry|one|smoking|littering|mobile|pedestrians|bicycles)|"
    r"^(end|on|soon|top|back)-|head-shaking|^(minus|plus|divide|multiply|om|khanda|wavy-dash|"
    r"atm-sign|curly-loop|double-curly-loop|part-alternation-mark|registered|copyright|"
    r"trade-mark|aquarius|aries|cancer|capricorn|gemini|leo|libra|ophiuchus|pisces|sagittarius|"
    r"scorpio|taurus|virgo|mens-room|womens-room|restroom|water-closet|customs|baggage-claim|"
    r"passport-control|cinema|wireless|antenna-bars|vibration-mode|diamond-with-a-dot|"
    r"mobile-phone-off|non-potable-water|potable-water|children-crossing|dim|zzz|"
    r"eight-pointed-star|eight-spoked-asterisk|dotted-line-face|map-of-japan|love-hotel|"
    r"dotted-six-pointed-star|heavy-.*|currency-exchange|information|.*yen-banknote|"
    r"identification-card|card-index-dividers|place-of-worship|name-badge|litter.*)$"
)


_split = str.split
_PEOPLE = _split(
    """
    anatomical-heart artist astronaut baby baby-angel bone boy brain bust-in-silhouette child
    clapping-hands construction-worker cook crossed-fingers detective ear elf eye eyes fairy
    farmer firefighter flexed-biceps folded-hands foot footprints genie girl guard handshake
    heart-hands judge leg lungs mage man mechanic merman mermaid mouth mx-claus nail-polish
    ninja nose old-man old-woman oncoming-fist pilot police-officer prince princess raised-fist
    santa-claus mrs-claus scientist singer snowboarder speaking-head student superhero
    supervillain teacher thumbs-down thumbs-up tongue tooth troll vampire victory-hand woman
    waving-hand writing-hand zombie ok-hand raised-hand skier surfer technologist
    """
)

_SYMBOLS = _split(
    """
    atom-symbol biohazard check-mark cross-mark fleur-de-lis infinity latin-cross menorah peace-
    symbol radioactive recycling-symbol red-exclamation-mark red-question-mark star-and-crescent
    star-of-david trident-emblem warning wheel-of-dharma yin-yang red-circle blue-circle green-
    circle yellow-circle purple-circle orange-circle red-square blue-square green-square yellow-
    square sparkle prohibited no-entry plus check-mark-button heavy-dollar-sign
    """
)

SYNONYMS: dict[str, str] = {
    "automobile": "car; auto; motor car",
    "oncoming-automobile": "car from the front",
    "sport-utility-vehicle": "suv; jeep; van",
    "racing-car": "race car; formula one car",
    "articulated-lorry": "truck; lorry; semi truck",
    "delivery-truck": "delivery van; moving truck",
    "fire-engine": "fire truck",
    "motor-scooter": "scooter; vespa",
    "motorcycle": "motorbike",
    "bicycle": "bike",
    "locomotive": "steam train; steam engine; railway engine",
    "high-speed-train": "fast train",
    "airplane": "plane; aeroplane; jet; aircraft",
    "small-airplane": "small plane; propeller plane",
    "flying-saucer": "ufo; alien spaceship",
    "rocket": "spaceship; space rocket",
    "sailboat": "boat; sailing boat; yacht",
    "passenger-ship": "cruise ship; ocean liner",
    "canoe": "kayak; rowing boat",
    "hamburger": "burger; cheeseburger",
    "french-fries": "fries; chips",
    "doughnut": "donut",
    "soft-ice-cream": "ice cream cone; soft serve",
    "ice-cream": "bowl of ice cream; sundae",
    "hot-beverage": "coffee; cup of coffee; hot drink; tea; cup of tea",
    "teacup-without-handle": "green tea; tea bowl",
    "beer-mug": "beer; glass of beer",
    "clinking-beer-mugs": "beers; cheers",
    "wine-glass": "wine; red wine; glass of wine",
    "cocktail-glass": "cocktail; martini",
    "glass-of-milk": "milk",
    "red-apple": "apple; red apple",
    "ear-of-corn": "corn; maize",
    "hot-pepper": "chili; chilli pepper",
    "poultry-leg": "chicken leg; drumstick",
    "cut-of-meat": "steak; beef",
    "cooking": "fried egg; frying pan with egg",
    "birthday-cake": "cake",
    "shortcake": "slice of cake; piece of cake",
    "cheese-wedge": "cheese",
    "spaghetti": "pasta; noodles",
    "steaming-bowl": "ramen; noodle soup; soup",
    "aubergine": "eggplant",
    "eggplant": "aubergine",
    "avocado": "half an avocado",
    "green-salad": "salad",
    "cat": "kitty; cute cat; kitten; sitting cat",
    "cat-face": "cat head; cute cat face; kitten face",
    "dog": "puppy; hound; standing dog",
    "dog-face": "dog head; puppy face; cute dog",
    "horse-face": "horse head",
    "mouse-face": "mouse head; cute mouse",
    "rabbit": "bunny; hare",
    "rabbit-face": "bunny face; cute bunny",
    "cow-face": "cow head; cattle",
    "pig-face": "pig head; piglet",
    "tiger-face": "tiger head",
    "monkey-face": "monkey head; cute monkey",
    "dragon-face": "dragon head",
    "bear": "bear face; teddy face; brown bear",
    "panda": "panda bear; panda face",
    "fox": "fox face",
    "lion": "lion face",
    "wolf": "wolf face",
    "frog": "frog face; toad",
    "unicorn": "unicorn head",
    "t-rex": "tyrannosaurus; dinosaur; dino",
    "sauropod": "long neck dinosaur; brontosaurus",
    "honeybee": "bee; bumblebee",
    "lady-beetle": "ladybug; ladybird",
    "bug": "caterpillar; worm bug",
    "tropical-fish": "colourful fish; aquarium fish",
    "whale": "blue whale",
    "baby-chick": "chick",
    "front-facing-baby-chick": "chick from the front",
    "two-hump-camel": "bactrian camel",
    "spouting-whale": "cute whale",
    "deciduous-tree": "tree; green tree; oak",
    "evergreen-tree": "pine tree; fir tree; conifer",
    "palm-tree": "palm",
    "christmas-tree": "decorated tree; xmas tree",
    "seedling": "sprout; small plant",
    "potted-plant": "plant in a pot; houseplant",
    "blossom": "flower; yellow flower",
    "hibiscus": "red flower; tropical flower",
    "cherry-blossom": "pink flower; sakura",
    "bouquet": "bunch of flowers; flowers",
    "rose": "red rose",
    "four-leaf-clover": "clover; lucky clover",
    "maple-leaf": "autumn leaf",
    "sun": "sunshine; bright sun",
    "crescent-moon": "moon; half moon",
    "full-moon": "round moon",
    "star": "yellow star; gold star",
    "glowing-star": "shining star",
    "fire": "flame; flames; burning fire",
    "droplet": "drop of water; water drop",
    "water-wave": "wave; ocean wave; sea",
    "high-voltage": "lightning; lightning bolt",
    "cloud-with-rain": "rain; rain cloud; rainy weather",
    "cloud-with-snow": "snow cloud; snowfall",
    "cloud-with-lightning": "thunderstorm; storm cloud",
    "sun-behind-cloud": "partly cloudy; sun and cloud",
    "snow-capped-mountain": "snowy mountain; mountain peak",
    "beach-with-umbrella": "beach; seaside",
    "desert-island": "island; tropical island",
    "globe-showing-europe-africa": "earth; world; globe; planet earth",
    "globe-showing-americas": "earth showing america",
    "ringed-planet": "planet; saturn",
    "house": "home; cottage; small house",
    "house-with-garden": "house with a tree",
    "castle": "fortress; medieval castle",
    "office-building": "building; skyscraper; tower block",
    "classical-building": "greek temple; museum",
    "tent": "camp tent; camping tent",
    "cityscape": "city; skyline; town",
    "mobile-phone": "phone; smartphone; cell phone",
    "telephone": "old phone; rotary phone",
    "laptop": "notebook computer; laptop computer",
    "desktop-computer": "computer; monitor; pc; screen",
    "television": "tv; tv set",
    "camera": "photo camera",
    "video-camera": "camcorder",
    "headphone": "headphones; earphones",
    "light-bulb": "bulb; idea; lamp",
    "flashlight": "torch",
    "video-game": "game controller; gamepad; joypad",
    "open-book": "book; reading",
    "books": "stack of books; pile of books",
    "closed-book": "red book",
    "scroll": "parchment; old document",
    "envelope": "mail; letter",
    "wrapped-gift": "gift; present; gift box",
    "party-popper": "party; celebration",
    "balloon": "red balloon; party balloon",
    "trophy": "cup; winner cup; gold cup",
    "sports-medal": "medal; gold medal",
    "soccer-ball": "football; soccer",
    "american-football": "rugby ball of america",
    "crossed-swords": "two swords",
    "dagger": "sword; blade; short sword",
    "axe": "hatchet",
    "bow-and-arrow": "bow; archery",
    "locked": "lock; padlock",
    "unlocked": "open lock; open padlock",
    "old-key": "antique key; ancient key",
    "money-bag": "bag of money; sack of gold; treasure",
    "coin": "gold coin",
    "gem-stone": "diamond; gem; crystal; jewel",
    "crown": "king crown; gold crown; queen crown",
    "ring": "diamond ring; wedding ring",
    "glasses": "spectacles; eyeglasses",
    "sunglasses": "shades; dark glasses",
    "t-shirt": "shirt; tee",
    "running-shoe": "sneaker; trainer; shoe",
    "high-heeled-shoe": "high heel; red shoe",
    "billed-cap": "cap; baseball cap",
    "top-hat": "hat; magician hat",
    "handbag": "purse bag; bag",
    "backpack": "rucksack; school bag",
    "alarm-clock": "clock; ringing clock",
    "hourglass-done": "hourglass; sand timer",
    "watch": "wristwatch",
    "magnifying-glass-tilted-left": "magnifying glass; search; loupe",
    "wastebasket": "trash can; bin; garbage can",
    "artist-palette": "palette; paint palette; painting",
    "framed-picture": "picture; painting in a frame",
    "paintbrush": "brush",
    "musical-note": "music note; note",
    "musical-notes": "music",
    "game-die": "die; dice",
    "puzzle-piece": "jigsaw; puzzle",
    "teddy-bear": "plush bear; toy bear",
    "bullseye": "target; dartboard",
    "magic-wand": "wand; magic",
    "crystal-ball": "fortune teller ball; magic ball",
    "couch-and-lamp": "sofa; couch; living room",
    "red-heart": "heart; love; red heart",
    "broken-heart": "heartbreak",
    "pile-of-poo": "poop; poo",
    "skull": "death; skeleton head",
    "skull-and-crossbones": "pirate skull; poison",
    "ghost": "spooky ghost; halloween ghost",
    "alien": "alien head; extraterrestrial",
    "alien-monster": "space invader",
    "robot": "robot face; bot; android; robot head",
    "jack-o-lantern": "pumpkin; halloween pumpkin",
    "grinning-face": "smiley; happy face; smile",
    "slightly-smiling-face": "smiling face; emoji",
    "smiling-face-with-sunglasses": "cool face; cool smiley",
    "smiling-face-with-heart-eyes": "in love face",
    "face-with-tears-of-joy": "laughing face; lol",
    "crying-face": "sad face; tear",
    "loudly-crying-face": "weeping face",
    "pouting-face": "angry red face; rage",
    "angry-face": "mad face",
    "sleeping-face": "asleep face",
    "santa-claus": "santa; father christmas",
    "mage": "wizard; sorcerer",
    "flexed-biceps": "muscle; strong arm",
    "thumbs-up": "like; good",
    "thumbs-down": "dislike; bad",
    "waving-hand": "hello; hand",
    "police-officer": "policeman; cop",
    "cook": "chef",
    "construction-worker": "builder",
    "collision": "explosion; boom; bang",
    "bomb": "round bomb",
    "speech-balloon": "speech bubble; chat; message",
    "thought-balloon": "thought bubble",
    "gear": "cog; settings",
    "nut-and-bolt": "screw; bolt",
    "hammer-and-wrench": "tools",
    "test-tube": "chemistry; laboratory glass",
    "dna": "genes; double helix",
    "satellite-antenna": "satellite dish",
    "statue-of-liberty": "new york statue",
    "fuel-pump": "petrol pump; gas station",
    "vertical-traffic-light": "traffic light; stop light",
    "snowman": "snowman in snow",
    "snowman-without-snow": "simple snowman",
    "closed-umbrella": "folded umbrella",
    "umbrella-with-rain-drops": "umbrella in rain; rain umbrella",
    "pool-8-ball": "billiard ball; eight ball",
    "performing-arts": "theatre masks; drama",
    "parachute": "skydiving",
    "hot-dog": "sausage in a bun",
    "bento-box": "lunch box",
    "shrimp": "prawn",
    "spiral-shell": "shell; sea shell",
    "wood": "log; timber",
    "rock": "stone; boulder",
    "leafy-green": "lettuce; cabbage",
    "mushroom": "toadstool; red mushroom",
    "brown-mushroom": "champignon",
    "fork-and-knife": "cutlery",
    "chart-increasing": "graph going up; growth",
    "money-with-wings": "flying money",
    "dollar-banknote": "money; dollar bill; cash",
    "syringe": "vaccine; injection",
    "pill": "medicine; capsule",
    "adhesive-bandage": "plaster; band aid",
    "globe-showing-asia-australia": "earth showing asia",
    "tokyo-tower": "radio tower; eiffel tower",
    "oncoming-bus": "bus from the front",
    "bus": "coach; school bus",
    "taxi": "cab; yellow taxi",
    "ship": "boat at sea; freighter",
    "motor-boat": "motorboat",
    "goblin": "red demon mask",
    "ogre": "oni; demon; monster",
    "smiling-face-with-horns": "devil; purple devil",
    "clown-face": "clown",
    "hatching-chick": "chick in an egg",
    "carousel-horse": "merry go round",
    "paw-prints": "paws; animal tracks",
    "notebook-with-decorative-cover": "notebook; journal",
    "memo": "note; writing",
    "pushpin": "pin; thumbtack",
    "loudspeaker": "public address speaker",
    "megaphone": "bullhorn",
    "speaker-high-volume": "loud speaker; sound",
    "key": "house key",
    "shield": "knight shield; protection",
    "pick": "pickaxe",
    "boomerang": "australian boomerang",
    "tumbler-glass": "whisky; whiskey glass",
    "tropical-drink": "mai tai; fruity drink",
    "cup-with-straw": "soda; soft drink; lemonade",
    "beverage-box": "juice box",
    "bubble-tea": "boba tea; milk tea",
}
"""Icon name to other things people call it, separated by semicolons."""


def is_useful(name: str, category: str) -> bool:
    """Whether the icon is one of the nouns the model learns.

    `category` is the icon set's own ("Food & Drink"); skin tones, flags,
    keycaps, letters, clock faces and gendered variants are left out.
    """
    if category == "People & Body":
        return name in _PEOPLE
    if category == "Symbols":
        return name in _SYMBOLS
    return category != "Flags" and _DROP.search(name) is None


def words(name: str) -> str:
    """The plain words of an icon name: "red-apple" is "red apple"."""
    return name.replace("-", " ")


def synonyms(name: str) -> list[str]:
    """Other words for the icon, the handwritten ones only; empty when there are none."""
    return [part.strip() for part in SYNONYMS.get(name, "").split(";") if part.strip()]


def article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def without_colour(phrase: str) -> str:
    """The phrase without a leading colour word ("red apple" is "apple")."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first in COLOURS else phrase


def _rank(name: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()


def evaluation_names(names: list[str]) -> list[str]:
    """The fixed 200 evaluation names: those whose hash is lowest. Never tune on them."""
    return sorted(sorted(names, key=lambda name: _rank(name, "evaluation"))[:EVALUATION_SIZE])


def tuning_names(names: list[str], count: int = 100) -> list[str]:
    """Names to look at while tuning: by another hash, and never an evaluation name."""
    held = set(evaluation_names(names))
    free = [name for name in names if name not in held]
    return sorted(free, key=lambda name: _rank(name, "tuning"))[:count]
