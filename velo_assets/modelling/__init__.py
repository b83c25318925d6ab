"""Race likelihoods, market probabilities, experts by price regime, calibration, walk-forward. No Dagster."""
