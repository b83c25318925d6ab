"""Close-up comments of the simulated world, in the wording of the real files, ending in the betting bracket.

The first phrase tells how the horse was ridden, as its running style and the luck of the start decided; then trouble,
then how it finished. Trouble is chance: it is written down but changes no result.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.simulation.population import Floats, Ints
from velo_assets.simulation.season import OUTCOME_CODES, rank_in_race

NO_COMMENT_RATE = 0.05
BRACKET_RATE = 0.445
"""Share of commented runners whose comment ends in a bracket: 42% of all rows."""

MADE_ALL = (
    "Made all",
    "Made all - ridden clear over 1f out",
    "Soon led - made all",
    "Made all - quickened pace over 2f out",
)
LED = (
    "Led",
    "Led - headed over 2f out",
    "Soon led - headed over 1f out",
    "Led until 2f out",
    "Made most until ridden and headed over 1f out",
)
PROMINENT = (
    "Prominent",
    "Chased leader",
    "Pressed leader",
    "With leader",
    "Tracked leader",
    "Always prominent",
    "Close up",
)
CHASED = (
    "Chased leaders",
    "Tracked leaders",
    "Tracked leading pair",
    "Chased leaders on outer",
    "Chased leaders early",
)
MIDFIELD = (
    "Mid-division",
    "Midfield",
    "In touch",
    "In touch in midfield",
    "Held up in touch",
    "Held up in midfield",
    "Raced in mid-division",
)
HELD_UP = (
    "Held up",
    "Held up towards rear",
    "Held up in rear",
    "Steadied start - held up",
    "Waited with in rear",
    "Held up in last pair",
)
REAR = ("In rear", "Towards rear", "Behind", "Raced in last pair", "Soon behind")
ALWAYS_REAR = ("Always towards rear", "Always in rear", "Always behind")
STYLE_PHRASES = (MADE_ALL, LED, PROMINENT, CHASED, MIDFIELD, HELD_UP, REAR, ALWAYS_REAR)

START_TROUBLE = (
    "Dwelt",
    "Slowly into stride",
    "Started slowly",
    "Slowly away",
    "Missed break",
    "Dwelt and hampered start",
)
RUN_TROUBLE_FLAT = (
    "hampered over 2f out",
    "slightly hampered over 1f out",
    "short of room over 1f out",
    "not clear run over 2f out",
    "denied clear run over 1f out",
    "raced wide",
    "forced wide bend over 3f out",
    "carried wide home turn",
    "bumped over 2f out",
)
RUN_TROUBLE_JUMPS = (
    "mistake 4 out",
    "mistake 3rd",
    "slight mistake next",
    "not fluent 3 out",
    "hit 2 out",
    "blundered 5th",
    "mistakes",
    "hampered 4 out",
    "jumped left",
    "raced wide",
    "short of room on inner after 3 out",
)
MIDDLE_FLAT = (
    "ridden over 2f out",
    "ridden 2f out",
    "pushed along over 3f out",
    "headway over 2f out",
    "took keen hold",
    "driven over 1f out",
    "effort over 2f out",
    "shaken up over 1f out",
)
MIDDLE_JUMPS = (
    "headway 4 out",
    "ridden 3 out",
    "pushed along after 3 out",
    "driven approaching 2 out",
    "went 2nd 3 out",
    "ridden after 4 out",
    "raced keenly",
    "closed 3 out",
)
WON = (
    "led over 1f out - driven out",
    "ridden to lead inside final furlong - kept on well",
    "readily",
    "ridden out",
    "led final furlong - just held on",
    "comfortably",
)
WON_JUMPS = (
    "led 2 out - driven out",
    "led last - ridden clear",
    "led approaching last - stayed on well",
    "easily",
    "led flat - all out",
)
PLACED = (
    "kept on",
    "kept on same pace",
    "stayed on well",
    "went second inside final furlong - no chance with winner",
    "just failed",
    "no extra inside final furlong",
    "ran on",
)
BEATEN = (
    "one pace",
    "kept on same pace",
    "no impression",
    "never on terms",
    "never troubled leaders",
    "soon one pace",
    "stayed on same pace",
    "never able to challenge",
)
WELL_BEATEN = (
    "weakened over 1f out",
    "soon weakened",
    "soon beaten",
    "weakened",
    "soon behind",
    "tailed off",
    "eased when beaten",
    "soon lost touch",
)
NOTES = (
    " (jockey said {sex} hung left)",
    " (jockey said {sex} ran flat)",
    " (jockey said {sex} was denied a clear run)",
    " (jockey said {sex} never travelled)",
    " (trainer had no explanation for the poor form shown)",
    " (jockey said {sex} was slowly away)",
)
SEX_WORDS = ("colt", "filly", "gelding", "rig")
FAILED = {
    "PU": (
        "tailed off when pulled up before 2 out",
        "behind when pulled up before 3 out",
        "pulled up before last",
        "weakened and pulled up before 4 out",
    ),
    "F": ("fell 4th", "fell 3 out", "in touch when fell 5th", "still going well when fell 2 out"),
    "UR": ("blundered and unseated rider 4 out", "mistake and unseated rider 3rd", "unseated rider 8th"),
    "BD": ("in touch when brought down 3rd", "brought down 5th"),
    "RR": ("refused to race",),
    "RO": ("hung badly left and ran out 2 out", "ran out 4th"),
    "SU": ("slipped up bend before 3 out", "slipped up bend over 3f out"),
    "REF": ("behind when refused 4 out", "refused 1st"),
    "DSQ": ("finished 3rd - disqualified - rider weighed in light", "disqualified after stewards enquiry"),
    "CO": ("carried out 5th",),
    "LFT": ("whipped round start - left at start",),
}


def _phrase(groups: tuple[tuple[str, ...], ...], group: Ints, rng: np.random.Generator) -> pl.Series:
    """A random phrase of each runner's group; group -1 gives an empty string."""
    flat = [""] + [phrase for phrases in groups for phrase in phrases]
    sizes = np.array([len(phrases) for phrases in groups])
    starts = 1 + np.cumsum(sizes) - sizes
    pick = starts[group] + (rng.random(len(group)) * sizes[group]).astype(np.int64)
    return pl.Series(flat, dtype=pl.String).gather(pl.Series(np.where(group < 0, 0, pick)))


def write_comments(
    *,
    style: Floats,
    race: Ints,
    first: Ints,
    size: Ints,
    position: Ints,
    outcome: Ints,
    behind: Floats,
    over_jumps: NDArray[np.bool_],
    sex: Ints,
    opening_differs: NDArray[np.bool_],
    opening_text: pl.Series,
    touched_text: pl.Series,
    rng: np.random.Generator,
) -> pl.Series:
    """One comment per runner, blank for `NO_COMMENT_RATE` of them.

    Args:
        style: (n,) 0 held up to 1 leads. race, first, size: races as numbers, offsets and counts.
        position: (n,) finishing position, 0 for non-finishers. outcome: index into `season.OUTCOME_CODES`.
        behind: (n,) utility behind the winner, NaN for non-finishers. over_jumps: (n,).
        sex: (n,) index into `SEX_WORDS`.
        opening_differs: (n,) whether the opening show differs from SP, so that a bracket makes sense.
        opening_text, touched_text: (n,) prices as called.
        rng: source of randomness.
    """
    n = len(style)
    runners = np.repeat(size, size)
    start_trouble = rng.random(n) < 0.06
    early = rank_in_race(-(style + rng.normal(0.0, 0.18, n) - 0.9 * start_trouble), race, first, size)
    share = (early - 1) / np.maximum(1, runners - 1)
    finished = outcome == 0
    won = position == 1
    ridden = np.select([early == 1, share <= 0.2, share <= 0.42, share <= 0.62, share <= 0.85], [1, 2, 3, 4, 5], 6)
    # A leader that won made all, unless it was headed and came again.
    ridden = np.where((ridden == 1) & won & (rng.random(n) < 0.7), 0, ridden)
    never_went_forward = (ridden == 6) & (position > 3) & (rng.random(n) < 0.5)
    ridden = np.where(never_went_forward, 7, ridden)
    opening = _phrase(STYLE_PHRASES, ridden, rng)
    start = _phrase((START_TROUBLE,), np.where(start_trouble, 0, -1), rng)
    trouble_kind = np.where(rng.random(n) < np.where(over_jumps, 0.17, 0.09), np.where(over_jumps, 1, 0), -1)
    trouble = _phrase((RUN_TROUBLE_FLAT, RUN_TROUBLE_JUMPS), trouble_kind, rng)
    middle = _phrase((MIDDLE_FLAT, MIDDLE_JUMPS), np.where(rng.random(n) < 0.8, over_jumps.astype(np.int64), -1), rng)
    level = np.select([won & over_jumps, won, position <= 3, np.nan_to_num(behind) < 2.2], [1, 0, 2, 3], 4)
    level = np.where(finished, level, 4 + outcome)
    failed = tuple(FAILED[code] for code in OUTCOME_CODES[1:])
    ending = _phrase((WON, WON_JUMPS, PLACED, BEATEN, WELL_BEATEN, *failed), level, rng)
    notes = [""] + [note.replace("{sex}", word) for word in SEX_WORDS for note in NOTES]
    noted = (rng.random(n) < 0.03) & ~won
    note_index = np.where(noted, 1 + sex * len(NOTES) + rng.integers(0, len(NOTES), n), 0)
    note = pl.Series(notes, dtype=pl.String).gather(pl.Series(note_index))

    bracket_kind = np.where(
        opening_differs & (rng.random(n) < BRACKET_RATE / max(0.05, float(opening_differs.mean()))),
        rng.choice(3, size=n, p=[0.52, 0.30, 0.18]),
        3,
    )
    frame = pl.DataFrame(
        {
            "start": start,
            "opening": opening,
            "trouble": trouble,
            "middle": middle,
            "ending": ending,
            "note": note,
            "kind": bracket_kind,
            "op": opening_text,
            "tchd": touched_text,
            "blank": rng.random(n) < NO_COMMENT_RATE,
        }
    )

    def dashed(name: str) -> pl.Expr:
        return pl.when(pl.col(name) == "").then(pl.lit("")).otherwise(pl.lit(" - ") + pl.col(name))

    bracket = (
        pl.when(pl.col("kind") == 0)
        .then(pl.concat_str(pl.lit("(op "), "op", pl.lit(")")))
        .when(pl.col("kind") == 1)
        .then(pl.concat_str(pl.lit("(op "), "op", pl.lit(" tchd "), "tchd", pl.lit(")")))
        .when(pl.col("kind") == 2)
        .then(pl.concat_str(pl.lit("(tchd "), "tchd", pl.lit(")")))
        .otherwise(pl.lit(""))
    )
    opening_expr = (
        pl.when(pl.col("start") == "")
        .then(pl.col("opening"))
        .otherwise(
            pl.concat_str(
                pl.col("start"),
                pl.lit(" - "),
                pl.col("opening").str.slice(0, 1).str.to_lowercase(),
                pl.col("opening").str.slice(1),
            )
        )
    )
    text = pl.concat_str(opening_expr, dashed("trouble"), dashed("middle"), dashed("ending"), pl.col("note"), bracket)
    return frame.select(pl.when(pl.col("blank")).then(pl.lit("")).otherwise(text).alias("comment")).to_series()
