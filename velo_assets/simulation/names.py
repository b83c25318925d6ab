"""Names of the simulated world: horses, dams, sires, people, owners, race titles.

Made from word lists, so no name stands for a real animal or person. Numbers in, strings out: the simulation itself only
handles numbers. Not here: who races against whom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def words(text: str) -> list[str]:
    """A word list written as a paragraph."""
    return text.split()


FIRST_WORDS = words(
    """
    Amber Autumn Azure Bold Brave Bright Broken Bronze Calm Candle Canyon Cedar Celtic Chalk Cinder Clever Clover
    Coastal Cobalt Copper Coral Crimson Crystal Curious Dancing Daring Dawn Desert Distant Double Dusty Early Eastern
    Ember Eternal Evening Fabled Falling Fearless Fleet Flying Forest Frosty Gallant Garden Gentle Gilded Ginger
    Golden Grand Granite Harbour Hazel Hidden Highland Hollow Honest Humble Indigo Island Ivory Jade Jolly Kindly
    Lasting Laughing Lemon Lively Local Lonely Lucky Lunar Magic Marble Meadow Merry Midnight Misty Modern Morning
    Mountain Native Noble Northern Ocean Olive Onyx Orchard Painted Paper Pearl Perfect Polar Prairie Prime Proper
    Proud Purple Quiet Rapid Ready Regal Rising River Roaming Royal Rustic Sacred Saffron Sandy Scarlet Secret Shining
    Silent Silver Simple Sky Smart Snowy Solar Southern Spring Stately Steady Stone Storm Summer Sunday Swift Tender
    Thunder Timber Topaz Tranquil Twilight Urban Valley Velvet Village Vital Wandering Western Wild Willow Winter Wise
    Wonder Woodland Young Zephyr Zesty
    """
)
SECOND_WORDS = words(
    """
    Accord Acrobat Admiral Affair Agent Angel Anthem Archer Arrow Artist Aura Ballad Bandit Banner Beacon Beauty Bell
    Bishop Blade Blossom Breeze Bridge Brook Canto Captain Castle Chance Charm Chief Chimes Chorus Citadel Comet
    Compass Courier Crown Cruise Dancer Dash Diamond Dream Drum Duchess Duke Eagle Echo Edge Empire Envoy Estate Fable
    Falcon Fame Fancy Fiddler Flame Flight Flower Folly Fortune Fox Gem Glen Glory Grace Guard Guest Gypsy Harp Haven
    Hawk Heart Herald Hero Hill Honour Horizon Hunter Jester Jewel Journey Joy Judge Keeper Kestrel King Knight Lady
    Lake Lancer Lane Lantern Lark Legend Light Lily Lodge Lord Maid Maker Manor March Mark Mask Melody Mentor Minstrel
    Mirage Mission Moon Motion Nomad Note Oak Oath Opera Oracle Owl Palace Pass Patrol Peak Pilgrim Pilot Pioneer Poet
    Point Prince Promise Quest Rambler Ranger Raven Reason Rebel Reef Report Ridge Road Rocket Rose Rover Runner
    Sailor Saint Scholar Scout Shadow Shore Signal Song Spark Spirit Star Stream Sword Tale Tempo Theme Thistle Tide
    Tiger Tower Trail Treasure Trumpet Union Vale Venture View Vision Vista Voyage Walk Warrior Watch Wave Way Whisper
    Wind Wing Wish Wizard Wolf Yarn
    """
)
GIVEN_NAMES = words(
    """
    Adam Aidan Alan Alice Amy Andrew Anna Barry Ben Brian Cathal Charlie Clare Conor Daniel David Declan Dylan Eimear
    Ellen Emma Eoin Fergus Finn Gary George Grace Graham Harry Hugh Ian Jack James Jamie Jane John Joseph Kate Kevin
    Kieran Laura Leah Liam Luke Mark Martin Mary Michael Neil Niall Nicola Noel Oisin Oliver Owen Padraig Patrick Paul
    Peter Rachel Richard Robert Ronan Rory Ross Ruth Sam Sarah Sean Simon Sophie Stephen Thomas Tim Tom Tony Una Wayne
    William
    """
)
FAMILY_NAMES = words(
    """
    Abbott Acton Ainsley Alder Archer Ashby Aston Barrow Baxter Beckett Bellamy Benton Birch Blaney Bolger Bowden
    Brady Bramley Brennan Briggs Burke Byrne Callan Carter Carver Casey Chandler Clancy Clarke Coleby Conway Corbett
    Cotter Coyle Crane Cullen Curran Dalby Daly Darcy Delaney Dempsey Devlin Dillon Dolan Doran Draper Duffy Dunne
    Eastwood Egan Ellwood Fallon Farley Farrell Fenton Finch Flynn Foley Forde Foster Furlong Galvin Garvey Gibson
    Gorman Granger Griffin Hackett Halford Hanlon Hardy Harkin Hartley Hawkes Hayes Healy Hickey Hobson Hogan Holt
    Horan Howarth Hurley Ingram Irwin Jarvis Kavanagh Keane Kearney Kelleher Kenny Kilbride Kinsella Lacey Lambert
    Langan Larkin Lawlor Leahy Lennon Lister Lockwood Lowry Lynam Madden Maguire Mallon Marsden Mercer Milburn Molloy
    Moran Morley Mulcahy Nash Neville Nolan Norton Oakley Osborne Parnell Parsons Pearce Pickering Plunkett Prescott
    Quigley Radford Redmond Reilly Ridley Roche Rooney Sadler Savage Scully Shelby Sheridan Slater Stafford Talbot
    Tierney Tobin Tully Vaughan Wadham Walsh Weldon Whelan Woodward Yarrow
    """
)

COUNTRY_SUFFIXES = ("IRE", "GB", "FR", "USA", "GER")
SPONSORS = (
    "Riverside Brewery",
    "Harvest Supplies",
    "Meadow Feeds",
    "Northgate Motors",
    "Stable Lads",
    "Racing Club",
    "Oakfield Homes",
    "Winter Festival",
    "Summer Evening",
    "Ladies Day",
    "Greenway Insurance",
    "Castle Hotel",
    "Members",
    "Silverline Windows",
    "Saddlers",
    "Follow Us Online",
    "Family Fun Day",
    "Turf Betting Shops",
    "Hillcrest Farm",
    "Farriers",
)


def two_word_names(numbers: NDArray[np.int64]) -> NDArray[np.object_]:
    """Names of horses by number; different numbers below 1.3 million give different names.

    Args:
        numbers: shape (n,), non-negative.

    Returns:
        Shape (n,), strings without a country suffix.
    """
    firsts = np.array(FIRST_WORDS, dtype=object)
    seconds = np.array(SECOND_WORDS, dtype=object)
    pairs = len(firsts) * len(seconds)
    # A stride coprime to the number of pairs walks them all once, in an order that does not look alphabetical.
    spread = (numbers % pairs) * 7919 % pairs
    rounds = numbers // pairs
    tails = np.array(["", " Boy", " Girl", " Too", " Again", " Bay", " Town", " Abbey"], dtype=object)
    prefixes = np.array(["", "My ", "The ", "Sir ", "Old ", "Miss "], dtype=object)
    plain = firsts[spread // len(seconds)] + " " + seconds[spread % len(seconds)]
    return np.asarray(
        prefixes[(rounds // len(tails)) % len(prefixes)] + plain + tails[rounds % len(tails)], dtype=object
    )


def sire_names(numbers: NDArray[np.int64]) -> NDArray[np.object_]:
    """Names of sires without suffix; the words stand the other way round than in `two_word_names`, so none is
    shared."""
    firsts = np.array(FIRST_WORDS, dtype=object)
    seconds = np.array(SECOND_WORDS, dtype=object)
    spread = numbers * 7919 % (len(firsts) * len(seconds))
    return np.asarray(seconds[spread % len(seconds)] + " " + firsts[spread // len(seconds)], dtype=object)


def dam_names(numbers: NDArray[np.int64], countries: NDArray[np.int64]) -> NDArray[np.object_]:
    """Names of dams; British ones carry `GB` without parentheses, as the real files do.

    Args:
        numbers: shape (n,), non-negative.
        countries: shape (n,), index into `COUNTRY_SUFFIXES`.
    """
    endings = np.array(["a", "ella", "ina", "issa", "ora", "ette"], dtype=object)
    firsts = np.array(FIRST_WORDS, dtype=object)
    seconds = np.array(SECOND_WORDS, dtype=object)
    pairs = len(firsts) * len(seconds)
    spread = (numbers % pairs) * 6007 % pairs
    names = (
        seconds[spread % len(seconds)]
        + endings[(numbers // pairs) % len(endings)]
        + " "
        + firsts[spread // len(seconds)]
    )
    suffixes = np.array([f" ({c})" if c != "GB" else " GB" for c in COUNTRY_SUFFIXES], dtype=object)
    return np.asarray(names + suffixes[countries], dtype=object)


def people(count: int, *, offset: int, stride: int) -> NDArray[np.object_]:
    """`count` distinct names of people.

    Args:
        count: how many; at most the number of given x family names (about 14,000).
        offset: where in the list to start, so that trainers and jockeys differ.
        stride: step through the list; coprime to its length.
    """
    given = np.array(GIVEN_NAMES, dtype=object)
    family = np.array(FAMILY_NAMES, dtype=object)
    total = len(given) * len(family)
    spread = (offset + np.arange(count, dtype=np.int64) * stride) % total
    names = given[spread % len(given)] + " " + family[spread // len(given)]
    repeat = np.arange(count) // total
    return np.asarray(np.where(repeat > 0, names + " Jnr", names), dtype=object)


def owners(count: int) -> NDArray[np.object_]:
    """`count` owners: private people, clubs and partnerships."""
    number = np.arange(count, dtype=np.int64)
    family = np.array(FAMILY_NAMES, dtype=object)
    firsts = np.array(FIRST_WORDS, dtype=object)
    seconds = np.array(SECOND_WORDS, dtype=object)
    initials = np.array([f"{a} {b}" for a in "ABCDEGHJKLMNPRSTW" for b in "ABCDEFGHJKLMPRSTW"], dtype=object)
    private = initials[number % len(initials)] + " " + family[(number * 37) % len(family)]
    club = firsts[(number * 11) % len(firsts)] + " " + family[(number * 53) % len(family)] + " Racing Club"
    partners = (
        "The " + firsts[(number * 29) % len(firsts)] + " " + seconds[(number * 41) % len(seconds)] + " Partnership"
    )
    kind = number % 5
    return np.asarray(np.where(kind < 3, private, np.where(kind == 3, club, partners)), dtype=object)
