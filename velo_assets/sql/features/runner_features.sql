-- grain: one row per runner
-- point in time: the union of the feature families, each of which ends strictly before the race day; no price of the race itself
-- look-back: that of the families
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
        trainer_runs_14d,
        trainer_runs_90d,
        trainer_runs_career,
        trainer_form_14d,
        trainer_impact_365d,
        trainer_impact,
        trainer_ae_90d,
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
        jockey_runs_14d,
        jockey_runs_90d,
        jockey_runs_career,
        jockey_form_14d,
        jockey_impact_365d,
        jockey_impact,
        jockey_ae_90d,
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
        tj_combo_ae,
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
        speed_ewma_365d,
        speed_last,
        speed_best,
        speed_spread,
        speed_figure_trend,
        speed_runs,
        late_gain_ewma,
        late_gain_last,
        early_pace_ewma,
        early_pace_last
    from features.speed_figures
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
form_curves as (
    select
        runner_key,
        form_ewma,
        form_ewma_30d,
        form_ewma_365d,
        form_slope,
        form_var,
        ts_trend,
        form_best,
        form_last,
        form_last_2,
        form_last_3,
        form_mean_365d,
        form_win_ewma,
        form_place_rate,
        form_runs,
        form_wins,
        won_last,
        lengths_ewma,
        lengths_best,
        lengths_last,
        lengths_last_2,
        lengths_last_3,
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
bias_maps as (
    select
        runner_key,
        draw_iv,
        draw_bias,
        draw_rail_bias,
        bias_persist_flag,
        stall_share,
        course_going_iv,
        course_going_runs
    from features.bias_maps
    where race_date >= cast($start as date) and race_date <= cast($end as date)
)
select
    entries.race_date, -- day of the race [date]
    entries.race_key, -- key of the race [key]
    entries.runner_key, -- key of the runner [key]
    trainer_velocity.trainer_sr_14d, -- strike rate of the last 14 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_30d, -- strike rate of the last 30 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_90d, -- strike rate of the last 90 days, shrunk to the trainer's own career rate [wins per run]
    trainer_velocity.trainer_sr_career, -- strike rate of the last 1095 days, shrunk to the mean of all trainers [wins per run]
    trainer_velocity.trainer_runs_14d, -- runs in the last 14 days [runs]
    trainer_velocity.trainer_runs_90d, -- runs in the last 90 days [runs]
    trainer_velocity.trainer_runs_career, -- runs in the last 1095 days [runs]
    trainer_velocity.trainer_form_14d, -- raw strike rate of the last 14 days less the career rate; null without a run [wins per run]
    trainer_velocity.trainer_impact_365d, -- wins of the last 365 days against 1/field size, shrunk to 1 [ratio]
    trainer_velocity.trainer_impact, -- wins of the last 1095 days against 1/field size, shrunk to 1 [ratio]
    trainer_velocity.trainer_ae_90d, -- wins of the last 90 days against the closing market's expectation, shrunk to 1 [ratio]
    trainer_velocity.trainer_ae, -- wins of the last 1095 days against the closing market's expectation, shrunk to 1 [ratio]
    trainer_velocity.trainer_place_rate, -- share of runs of the last 1095 days in the first three [share]
    trainer_velocity.trainer_rivals_beaten_90d, -- mean share of rivals beaten in the last 90 days [share]
    trainer_velocity.trainer_rivals_beaten, -- mean share of rivals beaten in the last 1095 days [share]
    jockey_velocity.jockey_sr_14d, -- strike rate of the last 14 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_30d, -- strike rate of the last 30 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_90d, -- strike rate of the last 90 days, shrunk to the jockey's own career rate [wins per run]
    jockey_velocity.jockey_sr_career, -- strike rate of the last 1095 days, shrunk to the mean of all jockeys [wins per run]
    jockey_velocity.jockey_runs_14d, -- runs in the last 14 days [runs]
    jockey_velocity.jockey_runs_90d, -- runs in the last 90 days [runs]
    jockey_velocity.jockey_runs_career, -- runs in the last 1095 days [runs]
    jockey_velocity.jockey_form_14d, -- raw strike rate of the last 14 days less the career rate; null without a run [wins per run]
    jockey_velocity.jockey_impact_365d, -- wins of the last 365 days against 1/field size, shrunk to 1 [ratio]
    jockey_velocity.jockey_impact, -- wins of the last 1095 days against 1/field size, shrunk to 1 [ratio]
    jockey_velocity.jockey_ae_90d, -- wins of the last 90 days against the closing market's expectation, shrunk to 1 [ratio]
    jockey_velocity.jockey_ae, -- wins of the last 1095 days against the closing market's expectation, shrunk to 1 [ratio]
    jockey_velocity.jockey_place_rate, -- share of runs of the last 1095 days in the first three [share]
    jockey_velocity.jockey_rivals_beaten_90d, -- mean share of rivals beaten in the last 90 days [share]
    jockey_velocity.jockey_rivals_beaten, -- mean share of rivals beaten in the last 1095 days [share]
    trainer_jockey.tj_combo_uplift, -- wins of the pair against what the trainer and the jockey win with anybody, shrunk, less 1 [ratio]
    trainer_jockey.tj_combo_runs, -- runs of the pair in the last 1095 days [runs]
    trainer_jockey.tj_combo_impact, -- wins of the pair against 1/field size, shrunk to 1 [ratio]
    trainer_jockey.tj_combo_ae, -- wins of the pair against the closing market's expectation, shrunk to 1 [ratio]
    trainer_jockey.tj_combo_share, -- share of the trainer's runs of the last 1095 days ridden by this jockey [share]
    trainer_jockey.owner_trainer_runs, -- runs of the owner with the trainer in the last 1095 days; null without an owner [runs]
    trainer_jockey.owner_trainer_impact, -- wins of the owner with the trainer against 1/field size, shrunk to the trainer's own; null without an owner [ratio]
    speed_figures.speed_ewma, -- time-weighted mean speed figure, half-life 60 days [points, 100 = par, 1 = 0.1% of par time]
    speed_figures.speed_ewma_365d, -- time-weighted mean speed figure, half-life 365 days [points]
    speed_figures.speed_last, -- last speed figure in 365 days [points]
    speed_figures.speed_best, -- best speed figure in 365 days [points]
    speed_figures.speed_spread, -- standard deviation of the speed figures in 365 days [points]
    speed_figures.speed_figure_trend, -- slope of the speed figures in 365 days; null under three [points per 30 days]
    speed_figures.speed_runs, -- runs with a speed figure in 365 days [runs]
    speed_figures.late_gain_ewma, -- time-weighted mean share of the field passed between the straight and the finish, half-life 365 days; null without calls [share]
    speed_figures.late_gain_last, -- share of the field passed between the straight and the finish last time; null without calls [share]
    speed_figures.early_pace_ewma, -- time-weighted mean early pace of the horse's races against the par of course and distance, half-life 365 days; positive = fast early; null without calls [0.1% of the race time]
    speed_figures.early_pace_last, -- early pace of the horse's last race against par; null without calls [0.1% of the race time]
    form_curves.form_ewma, -- time-weighted mean share of rivals beaten, half-life 90 days [share]
    form_curves.form_ewma_30d, -- time-weighted mean share of rivals beaten, half-life 30 days [share]
    form_curves.form_ewma_365d, -- time-weighted mean share of rivals beaten, half-life 365 days [share]
    form_curves.form_slope, -- slope of the share of rivals beaten in 365 days; null under three runs [share per 30 days]
    form_curves.form_var, -- variance of the share of rivals beaten in 365 days [share squared]
    form_curves.ts_trend, -- slope of the published speed rating in 365 days; that of our own speed figure where none is published [points per 30 days]
    form_curves.form_best, -- best share of rivals beaten in 365 days [share]
    form_curves.form_last, -- share of rivals beaten last time [share]
    form_curves.form_last_2, -- share of rivals beaten two runs ago [share]
    form_curves.form_last_3, -- share of rivals beaten three runs ago [share]
    form_curves.form_mean_365d, -- mean share of rivals beaten in 365 days [share]
    form_curves.form_win_ewma, -- time-weighted strike rate, half-life 365 days [wins per run]
    form_curves.form_place_rate, -- share of runs in the first three in 1095 days [share]
    form_curves.form_runs, -- runs in 1095 days [runs]
    form_curves.form_wins, -- wins in 1095 days; null without a run [wins]
    form_curves.won_last, -- won last time [0/1]
    form_curves.lengths_ewma, -- time-weighted mean lengths beaten, as over 8 furlongs, half-life 90 days [lengths]
    form_curves.lengths_best, -- fewest lengths beaten in 365 days, as over 8 furlongs [lengths]
    form_curves.lengths_last, -- lengths beaten last time, as over 8 furlongs [lengths]
    form_curves.lengths_last_2, -- lengths beaten two runs ago, as over 8 furlongs [lengths]
    form_curves.lengths_last_3, -- lengths beaten three runs ago, as over 8 furlongs [lengths]
    form_curves.rpr_last, -- Racing Post Rating of the last run, an after-race rating [points]
    form_curves.rpr_best, -- best Racing Post Rating in 365 days [points]
    form_curves.ts_last, -- Topspeed of the last run, an after-race rating [points]
    form_curves.ts_best, -- best Topspeed in 365 days [points]
    class_layoff.class_drop, -- class number today less that of the last run with one; positive = easier race today; null where races carry no class [classes]
    class_layoff.classdrop_flag, -- drops in class today; null where the move is unknown [0/1]
    class_layoff.layoff_days, -- days since the last run; null without a run in 1095 days [days]
    class_layoff.layoff_penalty, -- 0 under 7 days off, linear to 1 at 90, then 1 more per 30 days up to 5; null without a run [points]
    class_layoff.freshness_flag, -- 30 to 60 days off; null without a run [0/1]
    class_layoff.weight_delta, -- weight carried today less that of the last run [lb]
    class_layoff.or_delta, -- official rating today less that of the last run (Hong Kong: read off the weights) [points]
    class_layoff.handicap_mark, -- official rating, or the mark read off the weights of a Hong Kong handicap [points]
    class_layoff.mark_above_best_win, -- rating today less the highest the horse has won off in 1095 days; null without a win [points]
    class_layoff.band_drop, -- top of the rating band of the last banded race less today's; positive = easier race today [points]
    class_layoff.best_class_drop, -- class number today less the best class won in 1095 days; null without a win [classes]
    class_layoff.career_days, -- days since the first run within 1095 days; null without a run [days]
    bias_maps.draw_iv, -- wins from this fifth of the stalls against 1/field size at course, distance and going, shrunk to course and distance, those to 1; null over jumps [ratio]
    bias_maps.draw_bias, -- share of rivals the stall is worth at course and distance; null over jumps [share]
    bias_maps.draw_rail_bias, -- the same with this rail position, shrunk to all rails; null over jumps [share]
    bias_maps.bias_persist_flag, -- the draw's slope is beyond two standard errors and the last 90 days point the same way; null under 100 runs, without a run in 90 days, and over jumps [0/1]
    bias_maps.stall_share, -- stall as a share of the field, 0 = stall 1, 1 = the highest; null over jumps [share]
    bias_maps.course_going_iv, -- the horse's wins at this course and going against 1/field size, shrunk to its own record, that to 1 [ratio]
    bias_maps.course_going_runs -- the horse's runs at this course and going in 1095 days [runs]
from entries
left join trainer_velocity on trainer_velocity.runner_key = entries.runner_key
left join jockey_velocity on jockey_velocity.runner_key = entries.runner_key
left join trainer_jockey on trainer_jockey.runner_key = entries.runner_key
left join speed_figures on speed_figures.runner_key = entries.runner_key
left join form_curves on form_curves.runner_key = entries.runner_key
left join class_layoff on class_layoff.runner_key = entries.runner_key
left join bias_maps on bias_maps.runner_key = entries.runner_key
