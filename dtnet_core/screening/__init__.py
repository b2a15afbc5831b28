"""From a pool of crystals to candidates: choosing, rounds of validation, rankings, and whether it works."""
