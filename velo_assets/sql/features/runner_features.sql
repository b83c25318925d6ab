-- grain: one row per runner
-- point in time: the union of the feature families, each of which ends strictly before the race day; no price of the race itself
-- look-back: that of the families
-- written: in spans of years, whose joins fit the processor's cache; as they come, which is in the order of core.entries: sorting rows this wide is a fifth of the work
-- description: The matrix: every feature of every family for one runner, assembled by 1:1 joins on the runner key.
with entries as (
    select race_date, race_key, runner_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
trainer_velocity as (
    select
        runner_key,
        trainer_sr_14d,
        trainer_sr_30d,
        trainer_sr_90d,
        trainer_sr_career,
        trainer_runs_90d,
        trainer_runs_career,
        trainer_form_14d,
        trainer_impact,
        trainer_ae,
        trainer_place_rate,
        trainer_rivals_beaten_90d,
        trainer_rivals_beaten
    from features.trainer_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
jockey_velocity as (
    select
        runner_key,
        jockey_sr_14d,
        jockey_sr_30d,
        jockey_sr_90d,
        jockey_sr_career,
        jockey_runs_90d,
        jockey_runs_career,
        jockey_form_14d,
        jockey_impact,
        jockey_ae,
        jockey_place_rate,
        jockey_rivals_beaten_90d,
        jockey_rivals_beaten
    from features.jockey_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
trainer_jockey as (
    select
        runner_key,
        tj_combo_uplift,
        tj_combo_runs,
        tj_combo_impact,
        tj_combo_share,
        owner_trainer_runs,
        owner_trainer_impact
    from features.trainer_jockey
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
speed_figures as (
    select
        runner_key,
        speed_ewma,
        speed_last,
        speed_best,
        speed_at_trip,
        speed_best_at_trip,
        speed_spread,
        speed_figure_trend,
        speed_runs,
        late_gain_ewma,
        early_pace_ewma
    from features.speed_figures
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
form_curves as (
    select
        runner_key,
        form_ewma,
        form_ewma_30d,
        form_slope,
        form_var,
        ts_trend,
        form_best,
        form_last,
        form_last_2,
        form_last_3,
        form_runs,
        form_wins,
        form_win_rate,
        won_last,
        lengths_ewma,
        lengths_best,
        lengths_last,
        rpr_last,
        rpr_best,
        ts_last,
        ts_best
    from features.form_curves
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
class_layoff as (
    select
        runner_key,
        class_drop,
        classdrop_flag,
        layoff_days,
        layoff_penalty,
        freshness_flag,
        weight_delta,
        or_delta,
        handicap_mark,
        mark_above_best_win,
        band_drop,
        best_class_drop,
        career_days
    from features.class_layoff
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
weight_rating as (
    select
        runner_key,
        weight_lb,
        weight_vs_field_lb,
        weight_above_best_win_lb,
        claim_lb,
        official_rating,
        or_vs_field,
        or_vs_year,
        body_weight_lb,
        body_weight_delta_lb,
        body_weight_vs_year_lb,
        body_weight_vs_wins_lb,
        weight_share,
        age_years,
        card_rating,
        card_speed_rating
    from features.weight_rating
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
suitability as (
    select
        runner_key,
        course_affinity,
        going_affinity,
        distance_affinity,
        course_runs,
        going_runs,
        distance_runs,
        distance_from_best_furlongs,
        distance_mismatch_furlongs
    from features.suitability
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
bias_maps as (
    select
        runner_key,
        draw_iv,
        draw_bias,
        draw_rail_bias,
        bias_persist_flag,
        draw_stall_effect,
        draw_bias_last,
        draw_bias_ewma,
        stall_share,
        course_going_iv
    from features.bias_maps
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
running_style as (
    select
        runner_key,
        lead_rate,
        prominent_rate,
        held_up_rate,
        style_mean,
        style_last,
        style_runs,
        race_pace,
        style_by_pace,
        style_by_draw
    from features.running_style
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
trouble as (
    select
        runner_key,
        trouble_rate,
        trouble_last,
        blocked_last,
        slowly_away_rate,
        mistakes_rate,
        not_completed_rate
    from features.trouble
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
breeding as (
    select
        runner_key,
        sire_impact,
        sire_going_impact,
        sire_distance_impact,
        dam_impact,
        damsire_impact
    from features.breeding
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
market_history as (
    select
        runner_key,
        market_strength_ewma,
        market_strength_ewma_240d,
        market_strength_last,
        market_strength_best,
        market_beaten_ewma,
        horse_ae,
        steam_last
    from features.market_history
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
collateral_form as (
    select
        runner_key,
        performance_ewma_lb,
        performance_gap_lb,
        performance_last_gap_lb,
        performance_best_gap_lb,
        mark_below_peak,
        opposition_mark_ewma,
        race_franking
    from features.collateral_form
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
intent_signals as (
    select
        runner_key,
        jockey_change,
        jockey_upgrade,
        jockey_upgrade_ewma,
        past_jockey_ability,
        last_jockey_on_rival,
        jockey_choice,
        jockey_horse_runs,
        jockey_horse_rivals_beaten,
        trainer_change,
        layoff_vs_habit,
        headgear_first_time,
        headgear_change,
        course_change,
        surface_change,
        distance_move_furlongs,
        trainer_course_impact,
        trainer_course_runs,
        stable_runners,
        jockey_rides_today
    from features.intent_signals
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
race_shape as (
    select
        runner_key,
        field_size,
        is_handicap,
        race_class,
        is_pattern,
        rating_band_high,
        rating_spread,
        weight_range_lb,
        is_single_age,
        is_sex_restricted,
        age_vs_field,
        is_female,
        is_gelding,
        distance_furlongs,
        going_index
    from features.race_shape
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
within_race as (
    select
        runner_key,
        form_ewma_30d_z,
        form_ewma_30d_gap,
        form_ewma_30d_rank,
        form_ewma_z,
        rpr_best_z,
        rpr_best_gap,
        speed_ewma_z,
        speed_ewma_gap,
        speed_last_z,
        market_strength_ewma_z,
        market_strength_ewma_gap,
        market_strength_ewma_rank,
        market_strength_last_z,
        performance_gap_lb_z,
        performance_best_gap_lb_z,
        jockey_rivals_beaten_90d_z,
        jockey_rivals_beaten_90d_gap,
        jockey_impact_z,
        trainer_rivals_beaten_90d_z,
        official_rating_z
    from features.within_race
    where race_date >= cast($start as date) and race_date <= cast($end as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    trainer_velocity.trainer_sr_14d, -- strike rate of the last 14 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_30d, -- strike rate of the last 30 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_90d, -- strike rate of the last 90 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_career, -- strike rate of the last 730 days, shrunk to the mean of all trainers [wins per run]
    trainer_velocity.trainer_runs_90d, -- runs in the last 90 days [runs]
    trainer_velocity.trainer_runs_career, -- runs in the last 730 days [runs]
    trainer_velocity.trainer_form_14d, -- raw strike rate of the last 14 days less the career rate; null without a run [wins per run]
    trainer_velocity.trainer_impact, -- wins of the last 730 days against 1/field size, shrunk to 1 [ratio]
    trainer_velocity.trainer_ae, -- wins of the last 730 days against the closing market's expectation, shrunk to 1 [ratio]
    trainer_velocity.trainer_place_rate, -- share of runs of the last 730 days in the first three [share]
    trainer_velocity.trainer_rivals_beaten_90d, -- mean share of rivals beaten in the last 90 days [share]
    trainer_velocity.trainer_rivals_beaten, -- mean share of rivals beaten in the last 730 days [share]
    jockey_velocity.jockey_sr_14d, -- strike rate of the last 14 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_30d, -- strike rate of the last 30 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_90d, -- strike rate of the last 90 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_career, -- strike rate of the last 730 days, shrunk to the mean of all jockeys [wins per run]
    jockey_velocity.jockey_runs_90d, -- runs in the last 90 days [runs]
    jockey_velocity.jockey_runs_career, -- runs in the last 730 days [runs]
    jockey_velocity.jockey_form_14d, -- raw strike rate of the last 14 days less the career rate; null without a run [wins per run]
    jockey_velocity.jockey_impact, -- wins of the last 730 days against 1/field size, shrunk to 1 [ratio]
    jockey_velocity.jockey_ae, -- wins of the last 730 days against the closing market's expectation, shrunk to 1 [ratio]
    jockey_velocity.jockey_place_rate, -- share of runs of the last 730 days in the first three [share]
    jockey_velocity.jockey_rivals_beaten_90d, -- mean share of rivals beaten in the last 90 days [share]
    jockey_velocity.jockey_rivals_beaten, -- mean share of rivals beaten in the last 730 days [share]
    trainer_jockey.tj_combo_uplift, -- wins of the pair against what the trainer and the jockey win with anybody, shrunk, less 1 [ratio]
    trainer_jockey.tj_combo_runs, -- runs of the pair in the last 730 days [runs]
    trainer_jockey.tj_combo_impact, -- wins of the pair against 1/field size, shrunk to 1 [ratio]
    trainer_jockey.tj_combo_share, -- share of the trainer's runs of the last 730 days ridden by this jockey [share]
    trainer_jockey.owner_trainer_runs, -- runs of the owner with the trainer in the last 730 days; null without an owner [runs]
    trainer_jockey.owner_trainer_impact, -- wins of the owner with the trainer against 1/field size, shrunk to the trainer's own; null without an owner [ratio]
    speed_figures.speed_ewma, -- time-weighted mean speed figure, half-life 60 days [points, 100 = par, 1 = 0.1% of par time]
    speed_figures.speed_last, -- last speed figure in 365 days [points]
    speed_figures.speed_best, -- best speed figure in 365 days [points]
    speed_figures.speed_at_trip, -- mean speed figure at this course and distance in 730 days; null without a run there [points]
    speed_figures.speed_best_at_trip, -- best speed figure at this course and distance in 730 days; null without a run there [points]
    speed_figures.speed_spread, -- standard deviation of the speed figures in 365 days [points]
    speed_figures.speed_figure_trend, -- slope of the speed figures in 365 days; null under three [points per 30 days]
    speed_figures.speed_runs, -- runs with a speed figure in 365 days [runs]
    speed_figures.late_gain_ewma, -- time-weighted mean share of the field passed between the straight and the finish, half-life 365 days; null without calls [share]
    speed_figures.early_pace_ewma, -- time-weighted mean early pace of the horse's races against the par of course and distance, half-life 365 days; positive = fast early; null without calls [0.1% of the race time]
    form_curves.form_ewma, -- time-weighted mean share of rivals beaten, half-life 90 days [share]
    form_curves.form_ewma_30d, -- time-weighted mean share of rivals beaten, half-life 30 days [share]
    form_curves.form_slope, -- slope of the share of rivals beaten in 365 days; null under three runs [share per 30 days]
    form_curves.form_var, -- variance of the share of rivals beaten in 365 days; null under two runs [share squared]
    form_curves.ts_trend, -- slope of the published speed rating in 365 days; that of our own speed figure where none is published [points per 30 days]
    form_curves.form_best, -- best share of rivals beaten in 365 days [share]
    form_curves.form_last, -- share of rivals beaten last time [share]
    form_curves.form_last_2, -- share of rivals beaten two runs ago [share]
    form_curves.form_last_3, -- share of rivals beaten three runs ago [share]
    form_curves.form_runs, -- runs in 730 days [runs]
    form_curves.form_wins, -- wins in 730 days; null without a run [wins]
    form_curves.form_win_rate, -- share of runs won in 730 days; null without a run [share]
    form_curves.won_last, -- won last time [0/1]
    form_curves.lengths_ewma, -- time-weighted mean lengths beaten, as over 8 furlongs, negative for a winner's margin, half-life 90 days [lengths]
    form_curves.lengths_best, -- fewest lengths beaten in 365 days, as over 8 furlongs, negative for a winner's margin [lengths]
    form_curves.lengths_last, -- lengths beaten last time, as over 8 furlongs, negative for a winner's margin [lengths]
    form_curves.rpr_last, -- Racing Post Rating of the last run, an after-race rating [points]
    form_curves.rpr_best, -- best Racing Post Rating in 365 days [points]
    form_curves.ts_last, -- Topspeed of the last run, an after-race rating [points]
    form_curves.ts_best, -- best Topspeed in 365 days [points]
    class_layoff.class_drop, -- class number today less that of the last run; positive = easier race today; null where races carry no class [classes]
    class_layoff.classdrop_flag, -- drops in class today; null where the move is unknown [0/1]
    class_layoff.layoff_days, -- days since the last run; null without a run in 730 days [days]
    class_layoff.layoff_penalty, -- 0 under 7 days off, linear to 1 at 90, then 1 more per 30 days up to 5; null without a run [points]
    class_layoff.freshness_flag, -- 30 to 60 days off; null without a run [0/1]
    class_layoff.weight_delta, -- weight carried today less that of the last run [lb]
    class_layoff.or_delta, -- official rating today less that of the last run (Hong Kong: read off the weights) [points]
    class_layoff.handicap_mark, -- official rating, or the mark read off the weights of a Hong Kong handicap [points]
    class_layoff.mark_above_best_win, -- rating today less the highest the horse has won off in 730 days; null without a win [points]
    class_layoff.band_drop, -- top of the rating band of the last run less today's; positive = easier race today [points]
    class_layoff.best_class_drop, -- class number today less the best class won in 730 days; null without a win [classes]
    class_layoff.career_days, -- days since the first run within 730 days; null without a run [days]
    weight_rating.weight_lb, -- weight carried [lb]
    weight_rating.weight_vs_field_lb, -- weight carried less the mean of the field [lb]
    weight_rating.weight_above_best_win_lb, -- weight carried less the highest the horse has won under in 730 days; null without a win [lb]
    weight_rating.claim_lb, -- allowance claimed by the jockey, read off weight less rating in a handicap; null elsewhere and where no rating is published [lb]
    weight_rating.official_rating, -- official rating; null where none is published [points]
    weight_rating.or_vs_field, -- official rating less the mean of the field [points]
    weight_rating.or_vs_year, -- official rating less the horse's mean of 365 days [points]
    weight_rating.body_weight_lb, -- declared weight of the horse; null where none is declared [lb]
    weight_rating.body_weight_delta_lb, -- declared weight less that of the last run [lb]
    weight_rating.body_weight_vs_year_lb, -- declared weight less the horse's mean of 365 days [lb]
    weight_rating.body_weight_vs_wins_lb, -- declared weight less the horse's mean when winning; null without a win [lb]
    weight_rating.weight_share, -- weight carried as a share of the horse's own [share]
    weight_rating.age_years, -- age [years]
    weight_rating.card_rating, -- the card's master rating, published before the race; null without a card [points]
    weight_rating.card_speed_rating, -- the card's master speed rating, published before the race; null without a card [points]
    suitability.course_affinity, -- share of rivals the horse beats at this course and surface beyond its mean, shrunk to 0; null without a run [share]
    suitability.going_affinity, -- the same on this going [share]
    suitability.distance_affinity, -- the same in this distance band (to 6.4, 9.4, 13.4 furlongs, beyond) [share]
    suitability.course_runs, -- runs at this course and surface in 730 days [runs]
    suitability.going_runs, -- runs on this going in 730 days [runs]
    suitability.distance_runs, -- runs in this distance band in 730 days [runs]
    suitability.distance_from_best_furlongs, -- distance today less the horse's mean distance weighted by performance [furlongs]
    suitability.distance_mismatch_furlongs, -- size of that difference [furlongs]
    bias_maps.draw_iv, -- wins from this fifth of the stalls against 1/field size at course, distance and going, shrunk to course and distance, those to 1; null over jumps [ratio]
    bias_maps.draw_bias, -- share of rivals the stall is worth at course and distance; null over jumps [share]
    bias_maps.draw_rail_bias, -- the same with this rail position, shrunk to all rails; null over jumps [share]
    bias_maps.bias_persist_flag, -- the draw's slope is beyond two standard errors and the last 90 days point the same way; null under 100 runs, without a run in 90 days, and over jumps [0/1]
    bias_maps.draw_stall_effect, -- mean share of rivals beaten, less a half, from this stall number at course and distance, shrunk to 0; null over jumps [share]
    bias_maps.draw_bias_last, -- draw bias of the horse's last run as known then: an excuse when negative; null without one on the flat [share]
    bias_maps.draw_bias_ewma, -- time-weighted mean draw bias of its past runs, half-life 90 days [share]
    bias_maps.stall_share, -- stall as a share of the field, 0 = stall 1, 1 = the highest; null over jumps [share]
    bias_maps.course_going_iv, -- the horse's wins at this course and going against 1/field size, shrunk to 1 [ratio]
    running_style.lead_rate, -- share of the last six runs in front early, shrunk; null where no style is known [share]
    running_style.prominent_rate, -- share of the last six runs prominent, shrunk; null where no style is known [share]
    running_style.held_up_rate, -- share of the last six runs held up, shrunk; null where no style is known [share]
    running_style.style_mean, -- mean early position over the last six runs, 1 = in front, 0 = last, shrunk; null where no style is known [share]
    running_style.style_last, -- early position last time, 1 = in front, 0 = last [share]
    running_style.style_runs, -- runs of the last six with a known style [runs]
    running_style.race_pace, -- sum of the lead rates of the race's runners; null where no style is known [leaders]
    running_style.style_by_pace, -- front-running style times pace beyond one leader: a front runner in a fast race is positive [share x leaders]
    running_style.style_by_draw, -- front-running style times stall share, both centred; null over jumps [share squared]
    trouble.trouble_rate, -- share of the last three runs with trouble (hampered, short of room, wide, slowly away); null where no comment is known [share]
    trouble.trouble_last, -- trouble last time; null without a comment [0/1]
    trouble.blocked_last, -- hampered or short of room last time; null without a comment in 365 days [0/1]
    trouble.slowly_away_rate, -- share of the runs of 365 days slowly away; null without a comment [share]
    trouble.mistakes_rate, -- share of the runs of 365 days with jumping mistakes; null without a comment [share]
    trouble.not_completed_rate, -- share of the runs of 365 days not completed; null without a run [share]
    breeding.sire_impact, -- wins of the sire's progeny against 1/field size, shrunk to 1; null without a sire [ratio]
    breeding.sire_going_impact, -- the same on today's going, shrunk to the sire's own [ratio]
    breeding.sire_distance_impact, -- the same in today's distance band, shrunk to the sire's own [ratio]
    breeding.dam_impact, -- wins of the dam's progeny against 1/field size, shrunk to 1; null without a dam [ratio]
    breeding.damsire_impact, -- wins of the dam's sire's grandchildren against 1/field size, shrunk to 1; null without one [ratio]
    market_history.market_strength_ewma, -- time-weighted mean of the log of the closing probability times field size in past races, half-life 45 days; null without a priced run [log ratio]
    market_history.market_strength_ewma_240d, -- the same, half-life 240 days [log ratio]
    market_history.market_strength_last, -- log of the closing probability times field size last time [log ratio]
    market_history.market_strength_best, -- highest in 730 days [log ratio]
    market_history.market_beaten_ewma, -- time-weighted mean share of rivals beaten less what the price let expect, half-life 240 days [share]
    market_history.horse_ae, -- the horse's wins against the closing market's expectation in 730 days, shrunk to 1; null without a priced run [ratio]
    market_history.steam_last, -- log of opening show over starting price last time; positive = backed; null without both [log ratio]
    collateral_form.performance_ewma_lb, -- time-weighted mean mark the horse ran to, from weights and margins, half-life 90 days; null without rated races [points]
    collateral_form.performance_gap_lb, -- that less today's mark; positive = well handicapped [points]
    collateral_form.performance_last_gap_lb, -- mark the horse ran to last time less today's mark [points]
    collateral_form.performance_best_gap_lb, -- best mark it ran to in 365 days less today's mark [points]
    collateral_form.mark_below_peak, -- highest mark in 730 days less today's mark [points]
    collateral_form.opposition_mark_ewma, -- time-weighted mean mark of the fields met, half-life 90 days [points]
    collateral_form.race_franking, -- share of rivals beaten, less a half, by the others of the last race in their next run, shrunk to 0; null while none has run [share]
    intent_signals.jockey_change, -- another jockey than last time; null without a run [0/1]
    intent_signals.jockey_upgrade, -- share of rivals the jockey beat in 365 days less that of the last run's jockey as known then; null without a run [share]
    intent_signals.jockey_upgrade_ewma, -- the same against the time-weighted mean of all past jockeys, half-life 180 days [share]
    intent_signals.past_jockey_ability, -- time-weighted mean ability of the past jockeys, half-life 180 days [share]
    intent_signals.last_jockey_on_rival, -- the jockey of the last run rides another horse of this race; null without a run [0/1]
    intent_signals.jockey_choice, -- horses of this race the jockey rode in their last run: what there was to choose from [horses]
    intent_signals.jockey_horse_runs, -- runs of the horse under this jockey in 730 days [runs]
    intent_signals.jockey_horse_rivals_beaten, -- mean share of rivals beaten under this jockey; null without a run [share]
    intent_signals.trainer_change, -- another trainer than last time; null without a run [0/1]
    intent_signals.layoff_vs_habit, -- log of the days since the last run less the trainer's mean of 365 days; null without a run [log days]
    intent_signals.headgear_first_time, -- headgear worn for the first time; null where unknown [0/1]
    intent_signals.headgear_change, -- headgear put on, off or changed since last time; null where unknown [0/1]
    intent_signals.course_change, -- another course than last time; null without a run [0/1]
    intent_signals.surface_change, -- another surface than last time; null without a run [0/1]
    intent_signals.distance_move_furlongs, -- distance today less that of the last run [furlongs]
    intent_signals.trainer_course_impact, -- the trainer's wins at the course against 1/field size, shrunk to the trainer's own with a prior of 5 expected wins until a year of results lies before [ratio]
    intent_signals.trainer_course_runs, -- the trainer's runs at the course in 730 days [runs]
    intent_signals.stable_runners, -- runners of the trainer in this race [runners]
    intent_signals.jockey_rides_today, -- rides of the jockey declared for the day [rides]
    race_shape.field_size, -- runners declared [runners]
    race_shape.is_handicap, -- handicap race [0/1]
    race_shape.race_class, -- class number, 1 is best; null where races carry none [class]
    race_shape.is_pattern, -- pattern or listed race [0/1]
    race_shape.rating_band_high, -- top of the rating band; null where there is none [points]
    race_shape.rating_spread, -- standard deviation of the official ratings [points]
    race_shape.weight_range_lb, -- top weight less bottom weight [lb]
    race_shape.is_single_age, -- race for one age only [0/1]
    race_shape.is_sex_restricted, -- race for one sex only [0/1]
    race_shape.age_vs_field, -- age less the mean of the field [years]
    race_shape.is_female, -- filly or mare [0/1]
    race_shape.is_gelding, -- gelding [0/1]
    race_shape.distance_furlongs, -- distance [furlongs]
    race_shape.going_index, -- going from -2 firm to +3 heavy [index]
    within_race.form_ewma_30d_z, -- form (half-life 30 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.form_ewma_30d_gap, -- form (half-life 30 days): value less the best of the race, 0 for the best [same unit]
    within_race.form_ewma_30d_rank, -- form (half-life 30 days): rank in the race, 1 = highest; ties share; null where unknown [rank]
    within_race.form_ewma_z, -- form (half-life 90 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.rpr_best_z, -- best Racing Post Rating of 365 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.rpr_best_gap, -- best Racing Post Rating of 365 days: value less the best of the race, 0 for the best [same unit]
    within_race.speed_ewma_z, -- speed figure (half-life 60 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.speed_ewma_gap, -- speed figure (half-life 60 days): value less the best of the race, 0 for the best [same unit]
    within_race.speed_last_z, -- last speed figure: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.market_strength_ewma_z, -- past market strength (half-life 45 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.market_strength_ewma_gap, -- past market strength (half-life 45 days): value less the best of the race, 0 for the best [same unit]
    within_race.market_strength_ewma_rank, -- past market strength (half-life 45 days): rank in the race, 1 = highest; ties share; null where unknown [rank]
    within_race.market_strength_last_z, -- market strength last time: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.performance_gap_lb_z, -- mark run to less today's mark: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.performance_best_gap_lb_z, -- best mark run to less today's mark: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.jockey_rivals_beaten_90d_z, -- share of rivals the jockey beat in 90 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.jockey_rivals_beaten_90d_gap, -- share of rivals the jockey beat in 90 days: value less the best of the race, 0 for the best [same unit]
    within_race.jockey_impact_z, -- impact of the jockey: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.trainer_rivals_beaten_90d_z, -- share of rivals the trainer's runners beat in 90 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    within_race.official_rating_z -- official rating: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
from entries
left join trainer_velocity on trainer_velocity.runner_key = entries.runner_key
left join jockey_velocity on jockey_velocity.runner_key = entries.runner_key
left join trainer_jockey on trainer_jockey.runner_key = entries.runner_key
left join speed_figures on speed_figures.runner_key = entries.runner_key
left join form_curves on form_curves.runner_key = entries.runner_key
left join class_layoff on class_layoff.runner_key = entries.runner_key
left join weight_rating on weight_rating.runner_key = entries.runner_key
left join suitability on suitability.runner_key = entries.runner_key
left join bias_maps on bias_maps.runner_key = entries.runner_key
left join running_style on running_style.runner_key = entries.runner_key
left join trouble on trouble.runner_key = entries.runner_key
left join breeding on breeding.runner_key = entries.runner_key
left join market_history on market_history.runner_key = entries.runner_key
left join collateral_form on collateral_form.runner_key = entries.runner_key
left join intent_signals on intent_signals.runner_key = entries.runner_key
left join race_shape on race_shape.runner_key = entries.runner_key
left join within_race on within_race.runner_key = entries.runner_key
