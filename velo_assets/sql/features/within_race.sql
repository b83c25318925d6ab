-- grain: one row per runner
-- point in time: compares the families' values, each of which ends strictly before the race day, among the runners of one race
-- look-back: that of the families
-- written: in spans of years; their joins fit the processor's cache, those of all years do not
-- precision: a spread within the race of less than 1e-4 is next to rounding (values are held in single precision), and counts as none
-- description: Within-race forms (z-score, gap to the best, rank) of the values that matter; a softmax over the race sees differences only.
with entries as (
    select race_date, race_key, runner_key
    from core.entries
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
form_curves as (
    select
        runner_key,
        form_ewma_30d,
        form_ewma,
        rpr_best
    from features.form_curves
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
speed_figures as (
    select
        runner_key,
        speed_ewma,
        speed_last
    from features.speed_figures
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
market_history as (
    select
        runner_key,
        market_strength_ewma,
        market_strength_last
    from features.market_history
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
collateral_form as (
    select
        runner_key,
        performance_gap_lb,
        performance_best_gap_lb
    from features.collateral_form
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
jockey_velocity as (
    select
        runner_key,
        jockey_rivals_beaten_90d,
        jockey_impact
    from features.jockey_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
trainer_velocity as (
    select
        runner_key,
        trainer_rivals_beaten_90d
    from features.trainer_velocity
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
weight_rating as (
    select
        runner_key,
        official_rating
    from features.weight_rating
    where race_date >= cast($start as date) and race_date <= cast($end as date)
),
runner_values as (
    select
        entries.race_date,
        entries.race_key,
        entries.runner_key,
        form_curves.form_ewma_30d,
        form_curves.form_ewma,
        form_curves.rpr_best,
        speed_figures.speed_ewma,
        speed_figures.speed_last,
        market_history.market_strength_ewma,
        market_history.market_strength_last,
        collateral_form.performance_gap_lb,
        collateral_form.performance_best_gap_lb,
        jockey_velocity.jockey_rivals_beaten_90d,
        jockey_velocity.jockey_impact,
        trainer_velocity.trainer_rivals_beaten_90d,
        weight_rating.official_rating
    from entries
    left join form_curves on form_curves.runner_key = entries.runner_key
    left join speed_figures on speed_figures.runner_key = entries.runner_key
    left join market_history on market_history.runner_key = entries.runner_key
    left join collateral_form on collateral_form.runner_key = entries.runner_key
    left join jockey_velocity on jockey_velocity.runner_key = entries.runner_key
    left join trainer_velocity on trainer_velocity.runner_key = entries.runner_key
    left join weight_rating on weight_rating.runner_key = entries.runner_key
),
fields as (
    select
        race_key,
        avg(form_ewma_30d) as form_ewma_30d_mean,
        stddev_pop(form_ewma_30d) as form_ewma_30d_spread,
        max(form_ewma_30d) as form_ewma_30d_best,
        avg(form_ewma) as form_ewma_mean,
        stddev_pop(form_ewma) as form_ewma_spread,
        avg(rpr_best) as rpr_best_mean,
        stddev_pop(rpr_best) as rpr_best_spread,
        max(rpr_best) as rpr_best_best,
        avg(speed_ewma) as speed_ewma_mean,
        stddev_pop(speed_ewma) as speed_ewma_spread,
        max(speed_ewma) as speed_ewma_best,
        avg(speed_last) as speed_last_mean,
        stddev_pop(speed_last) as speed_last_spread,
        avg(market_strength_ewma) as market_strength_ewma_mean,
        stddev_pop(market_strength_ewma) as market_strength_ewma_spread,
        max(market_strength_ewma) as market_strength_ewma_best,
        avg(market_strength_last) as market_strength_last_mean,
        stddev_pop(market_strength_last) as market_strength_last_spread,
        avg(performance_gap_lb) as performance_gap_lb_mean,
        stddev_pop(performance_gap_lb) as performance_gap_lb_spread,
        avg(performance_best_gap_lb) as performance_best_gap_lb_mean,
        stddev_pop(performance_best_gap_lb) as performance_best_gap_lb_spread,
        avg(jockey_rivals_beaten_90d) as jockey_rivals_beaten_90d_mean,
        stddev_pop(jockey_rivals_beaten_90d) as jockey_rivals_beaten_90d_spread,
        max(jockey_rivals_beaten_90d) as jockey_rivals_beaten_90d_best,
        avg(jockey_impact) as jockey_impact_mean,
        stddev_pop(jockey_impact) as jockey_impact_spread,
        avg(trainer_rivals_beaten_90d) as trainer_rivals_beaten_90d_mean,
        stddev_pop(trainer_rivals_beaten_90d) as trainer_rivals_beaten_90d_spread,
        avg(official_rating) as official_rating_mean,
        stddev_pop(official_rating) as official_rating_spread
    from runner_values
    group by race_key
),
ranked_values as (
    select
        race_date,
        race_key,
        runner_key,
        form_ewma_30d,
        form_ewma,
        rpr_best,
        speed_ewma,
        speed_last,
        market_strength_ewma,
        market_strength_last,
        performance_gap_lb,
        performance_best_gap_lb,
        jockey_rivals_beaten_90d,
        jockey_impact,
        trainer_rivals_beaten_90d,
        official_rating,
        case when form_ewma_30d is not null then rank() over (partition by race_key order by form_ewma_30d desc nulls last) end as form_ewma_30d_rank,
        case when market_strength_ewma is not null then rank() over (partition by race_key order by market_strength_ewma desc nulls last) end as market_strength_ewma_rank
    from runner_values
)
select
    ranked_values.race_date, -- day of the race [date]
    ranked_values.race_key, -- key of the race [key]
    ranked_values.runner_key, -- key of the runner [key]
    (ranked_values.form_ewma_30d - fields.form_ewma_30d_mean) / case when fields.form_ewma_30d_spread > 1e-4 then fields.form_ewma_30d_spread end as form_ewma_30d_z, -- form (half-life 30 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    ranked_values.form_ewma_30d - fields.form_ewma_30d_best as form_ewma_30d_gap, -- form (half-life 30 days): value less the best of the race, 0 for the best [same unit]
    ranked_values.form_ewma_30d_rank, -- form (half-life 30 days): rank in the race, 1 = highest; ties share; null where unknown [rank]
    (ranked_values.form_ewma - fields.form_ewma_mean) / case when fields.form_ewma_spread > 1e-4 then fields.form_ewma_spread end as form_ewma_z, -- form (half-life 90 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.rpr_best - fields.rpr_best_mean) / case when fields.rpr_best_spread > 1e-4 then fields.rpr_best_spread end as rpr_best_z, -- best Racing Post Rating of 365 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    ranked_values.rpr_best - fields.rpr_best_best as rpr_best_gap, -- best Racing Post Rating of 365 days: value less the best of the race, 0 for the best [same unit]
    (ranked_values.speed_ewma - fields.speed_ewma_mean) / case when fields.speed_ewma_spread > 1e-4 then fields.speed_ewma_spread end as speed_ewma_z, -- speed figure (half-life 60 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    ranked_values.speed_ewma - fields.speed_ewma_best as speed_ewma_gap, -- speed figure (half-life 60 days): value less the best of the race, 0 for the best [same unit]
    (ranked_values.speed_last - fields.speed_last_mean) / case when fields.speed_last_spread > 1e-4 then fields.speed_last_spread end as speed_last_z, -- last speed figure: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.market_strength_ewma - fields.market_strength_ewma_mean) / case when fields.market_strength_ewma_spread > 1e-4 then fields.market_strength_ewma_spread end as market_strength_ewma_z, -- past market strength (half-life 45 days): distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    ranked_values.market_strength_ewma - fields.market_strength_ewma_best as market_strength_ewma_gap, -- past market strength (half-life 45 days): value less the best of the race, 0 for the best [same unit]
    ranked_values.market_strength_ewma_rank, -- past market strength (half-life 45 days): rank in the race, 1 = highest; ties share; null where unknown [rank]
    (ranked_values.market_strength_last - fields.market_strength_last_mean) / case when fields.market_strength_last_spread > 1e-4 then fields.market_strength_last_spread end as market_strength_last_z, -- market strength last time: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.performance_gap_lb - fields.performance_gap_lb_mean) / case when fields.performance_gap_lb_spread > 1e-4 then fields.performance_gap_lb_spread end as performance_gap_lb_z, -- mark run to less today's mark: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.performance_best_gap_lb - fields.performance_best_gap_lb_mean) / case when fields.performance_best_gap_lb_spread > 1e-4 then fields.performance_best_gap_lb_spread end as performance_best_gap_lb_z, -- best mark run to less today's mark: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.jockey_rivals_beaten_90d - fields.jockey_rivals_beaten_90d_mean) / case when fields.jockey_rivals_beaten_90d_spread > 1e-4 then fields.jockey_rivals_beaten_90d_spread end as jockey_rivals_beaten_90d_z, -- share of rivals the jockey beat in 90 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    ranked_values.jockey_rivals_beaten_90d - fields.jockey_rivals_beaten_90d_best as jockey_rivals_beaten_90d_gap, -- share of rivals the jockey beat in 90 days: value less the best of the race, 0 for the best [same unit]
    (ranked_values.jockey_impact - fields.jockey_impact_mean) / case when fields.jockey_impact_spread > 1e-4 then fields.jockey_impact_spread end as jockey_impact_z, -- impact of the jockey: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.trainer_rivals_beaten_90d - fields.trainer_rivals_beaten_90d_mean) / case when fields.trainer_rivals_beaten_90d_spread > 1e-4 then fields.trainer_rivals_beaten_90d_spread end as trainer_rivals_beaten_90d_z, -- share of rivals the trainer's runners beat in 90 days: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
    (ranked_values.official_rating - fields.official_rating_mean) / case when fields.official_rating_spread > 1e-4 then fields.official_rating_spread end as official_rating_z -- official rating: distance from the mean of the field in its standard deviations; null where unknown or all equal [z]
from ranked_values
left join fields on fields.race_key = ranked_values.race_key
