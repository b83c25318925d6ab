-- grain: one row per runner and recipe, settled or not, of every race with a result in a year scored out of sample
-- point in time: each probability comes from models trained before the cutoff of its fold
-- look-back: none, rows are gathered from the models of the same year
-- description: Out-of-sample win probabilities of every recipe, kept long with their fold and cutoff.
with blend as (
    select * from models.blend where race_date between $start and $end
),

-- A card is predicted too, but nothing has judged the prediction yet: it is serving's, not the backtest's.
run_races as (
    select race_key from core.races where stage = 'result' and race_date between $start and $end
),

gate as (
    select * from models.gate where race_date between $start and $end
),

fundamental as (
    select * from models.fundamental where race_date between $start and $end
),

recipes as (
    select race_date, race_key, runner_key, fold, cutoff,
        'market_beta' as recipe, market_beta_probability as probability, model_hash
    from blend
    union all
    -- Only years that have a blend: the warm-up year feeds it and is never reported.
    select fundamental.race_date, fundamental.race_key, fundamental.runner_key, fundamental.fold, fundamental.cutoff,
        'fundamental' as recipe, fundamental.fundamental_probability as probability, fundamental.model_hash
    from fundamental semi join blend on blend.runner_key = fundamental.runner_key
    union all
    select race_date, race_key, runner_key, fold, cutoff,
        'blend' as recipe, blend_probability as probability, model_hash
    from blend
    union all
    select race_date, race_key, runner_key, fold, cutoff,
        'experts' as recipe, expert_probability as probability, model_hash
    from gate
)

select
    recipes.race_date, -- day of the race
    recipes.race_key, -- race
    recipes.runner_key, -- runner
    recipes.fold, -- year scored
    recipes.cutoff, -- first day scored; models have learnt from earlier days only
    recipes.recipe, -- market_beta, fundamental, blend or experts; the market itself is in market.probabilities
    recipes.probability, -- win probability, sums to 1 over the race [probability]
    recipes.model_hash -- hash of the model
from recipes semi join run_races on run_races.race_key = recipes.race_key
where recipes.probability is not null
